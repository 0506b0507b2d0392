// softcuda: the functions of the CUDA driver that MmeSid.Kernels.Cuda calls, on the host. For tests only.
//
// Work that a stream is given is done when somebody waits for it and not before: who reads too early reads what was there before.
// Memory is filled with NaN when it is allocated and ends at a page that nobody may touch. The first error of a kernel stays, as on a GPU.
// SOFTCUDA_DEVICES says how many devices there are. What belongs to one is refused by the others, and a kernel cannot reach their memory.

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "fibers.h"
#include "registry.h"

#define API extern "C" __attribute__((visibility("default")))

using Result = int;
using Pointer = unsigned long long;

namespace
{
constexpr Result kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kNoDevice = 100, kInvalidDevice = 101, kInvalidContext = 201,
    kInvalidPtx = 218, kUnsupportedPtx = 222, kInvalidHandle = 400, kNotFound = 500, kNotReady = 600, kIllegalAddress = 700, kOutOfResources = 701,
    kLaunchFailed = 719;

struct ErrorText { Result code; const char* name; const char* text; };

const ErrorText kErrors[] = {
    {kSuccess, "CUDA_SUCCESS", "no error"},
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {kNoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kInvalidPtx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {kUnsupportedPtx, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {kNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {kOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
};

constexpr size_t kPage = 4096, kSharedByDefault = 48 << 10;
constexpr int kMostThreads = 1024, kMostPtxMinor = 8, kMostPtxMajor = 8;

size_t setting(const char* name, size_t otherwise)
{
    const char* value = std::getenv(name);
    return value == nullptr || *value == 0 ? otherwise : std::strtoull(value, nullptr, 10);
}

struct Event;

// Contexts are numbered from 1, one per device; 0 is none.
constexpr int kMostDevices = 16;
thread_local int t_context;

struct Stream
{
    int context = t_context;
    std::deque<std::function<Result()>> work;
};

struct Event
{
    int context = t_context;
    std::shared_ptr<Stream> stream; // where it was recorded last
    bool pending = false;
    double milliseconds = 0;
};

struct Function
{
    const softcuda::Kernel* kernel;
    int most_threads;
    int context = t_context;
    size_t shared = kSharedByDefault;
};

struct Module
{
    int context = t_context;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

struct Allocation
{
    unsigned char* mapping;
    size_t mapped, bytes;
    int context = t_context;
};

struct Injection { int context; std::string function; int calls; Result result; };

struct Context
{
    Result broken = kSuccess; // a kernel's error stays until the context is gone
    size_t used = 0;
};

/// Everything that the driver knows, behind one lock: tests run in parallel, streams are drained by whoever waits.
struct Driver
{
    std::recursive_mutex lock;
    bool initialized = false;
    int contexts = 0;
    Context context[kMostDevices + 1];
    std::map<Pointer, Allocation> memory;
    std::map<void*, Allocation> host;
    std::set<void*> registered;
    std::set<std::shared_ptr<Stream>> streams;
    std::set<Event*> events;
    std::set<Module*> modules;
    std::vector<Injection> injections;
    size_t total = setting("SOFTCUDA_MEMORY", (size_t)4 << 30);
    int capability = (int)setting("SOFTCUDA_CAPABILITY", 90), devices = std::min(kMostDevices, (int)setting("SOFTCUDA_DEVICES", 1));
    size_t shared_limit = setting("SOFTCUDA_SHARED", 227 << 10);
    std::shared_ptr<Stream> null_stream = std::make_shared<Stream>();
    std::string last_failure;
    size_t copied_in = 0, copied_out = 0;
};

std::vector<softcuda::Kernel>& kernels()
{
    static std::vector<softcuda::Kernel> all;
    return all;
}

Driver& driver()
{
    static Driver* instance = new Driver; // never destroyed: finalizers may still call when the process ends
    return *instance;
}

Result& broken(int context) { return driver().context[context].broken; }

Result injected(const char* function)
{
    for (Injection& injection : driver().injections)
    {
        if (injection.function == function && (injection.context == 0 || injection.context == t_context) && injection.calls > 0 && --injection.calls == 0)
        {
            if (injection.result >= kIllegalAddress)
                broken(t_context) = injection.result;
            return injection.result;
        }
    }
    return kSuccess;
}

// What every call begins with.
#define ENTER(name)                                                     \
    std::lock_guard<std::recursive_mutex> guard(driver().lock);         \
    if (Result result = injected(name)) return result;                  \
    if (!driver().initialized) return kNotInitialized;                  \
    if (broken(t_context) != kSuccess) return broken(t_context)

bool reserve(Allocation& allocation, size_t bytes)
{
    size_t rounded = (bytes + kPage - 1) / kPage * kPage;
    auto* mapping = (unsigned char*)mmap(nullptr, rounded + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED)
        return false;
    mprotect(mapping + kPage, rounded, PROT_READ | PROT_WRITE);
    std::memset(mapping + kPage, 0xff, rounded);
    allocation = {mapping, rounded + 2 * kPage, bytes, t_context};
    return true;
}

// As near to the closed page as 256-byte alignment allows.
unsigned char* start_of(const Allocation& allocation)
{
    size_t rounded = allocation.mapped - 2 * kPage;
    return allocation.mapping + kPage + (rounded - allocation.bytes) / 256 * 256;
}

Result drain(Stream& stream)
{
    while (!stream.work.empty() && broken(stream.context) == kSuccess)
    {
        std::function<Result()> work = std::move(stream.work.front());
        stream.work.pop_front();
        if (Result result = work())
            broken(stream.context) = result;
    }
    return broken(stream.context);
}

// ---- kernels ----

thread_local sigjmp_buf t_fault;
thread_local bool t_in_kernel;
struct sigaction g_previous_segv, g_previous_bus;

void on_fault(int signal, siginfo_t* info, void* context)
{
    if (t_in_kernel)
        siglongjmp(t_fault, 1);
    struct sigaction& previous = signal == SIGSEGV ? g_previous_segv : g_previous_bus;
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr)
        return previous.sa_sigaction(signal, info, context);
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
        return previous.sa_handler(signal);
    sigaction(signal, &previous, nullptr);
}

// Installed before every launch, because the runtime that hosts the test may have put its own in place since.
void catch_faults()
{
    struct sigaction action = {}, before = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int signal : {SIGSEGV, SIGBUS})
    {
        sigaction(signal, &action, &before);
        if (before.sa_sigaction != on_fault)
            (signal == SIGSEGV ? g_previous_segv : g_previous_bus) = before;
    }
}

/// While it lives, memory of other devices cannot be touched.
struct Isolation
{
    explicit Isolation(int context) : context(context) { protect(PROT_NONE); }
    ~Isolation() { protect(PROT_READ | PROT_WRITE); }

    void protect(int access) const
    {
        for (const auto& [at, allocation] : driver().memory)
        {
            if (allocation.context != context)
                mprotect(allocation.mapping + kPage, allocation.mapped - 2 * kPage, access);
        }
    }

    int context;
};

struct Call
{
    int context;
    const softcuda::Kernel* kernel;
    std::vector<std::vector<unsigned char>> arguments;
};

void run_thread(void* argument)
{
    auto& call = *(Call*)argument;
    void* pointers[64];
    for (size_t i = 0; i < call.arguments.size(); i++)
        pointers[i] = call.arguments[i].data();
    call.kernel->call(call.kernel->function, pointers);
}

Result launch(Call& call, int grid_x, int grid_y, int threads, size_t shared_bytes)
{
    // Dynamic shared memory ends at a closed page as well.
    Allocation shared = {};
    if (!reserve(shared, shared_bytes))
        return kOutOfMemory;
    size_t rounded = shared.mapped - 2 * kPage;
    unsigned char* start = shared.mapping + kPage + (rounded - shared_bytes) / 1024 * 1024;
    Isolation isolation(call.context);
    catch_faults();
    const char* error = nullptr;
    Result result = kSuccess;
    if (sigsetjmp(t_fault, 1) == 0)
    {
        t_in_kernel = true;
        for (int y = 0; y < grid_y && error == nullptr; y++)
        {
            for (int x = 0; x < grid_x && error == nullptr; x++)
            {
                std::memset(shared.mapping + kPage, 0xff, rounded);
                softcuda::block = {x, y, grid_x, threads, start};
                error = softcuda::run_block(run_thread, &call);
            }
        }
        if (error != nullptr)
            result = kLaunchFailed;
    }
    else
    {
        result = kIllegalAddress;
        error = "a kernel read or wrote outside of what it was given";
    }
    t_in_kernel = false;
    munmap(shared.mapping, shared.mapped);
    if (error != nullptr)
        driver().last_failure = std::string(call.kernel->name) + ": " + error;
    return result;
}

// ---- PTX ----

std::string word_after(const std::string& text, size_t at)
{
    size_t begin = text.find_first_not_of(" \t\n", at), end = text.find_first_of(" \t\n,;()", begin);
    return begin == std::string::npos ? "" : text.substr(begin, end - begin);
}

// Of what follows ".param": ".u64 name", or a structure as ".align 8 .b8 name[136]".
size_t argument_size(const std::string& declaration)
{
    size_t open = declaration.find('[');
    if (open != std::string::npos)
        return std::strtoull(declaration.c_str() + open + 1, nullptr, 10);
    std::string type = word_after(declaration, 0);

    if (type == ".u64" || type == ".s64" || type == ".b64" || type == ".f64")
        return 8;
    if (type == ".u32" || type == ".s32" || type == ".b32" || type == ".f32")
        return 4;
    return type == ".u16" || type == ".s16" || type == ".b16" ? 2 : 1;
}

/// Finds the entries of a module in its text; every one must be known with arguments of the same sizes.
Result load(const std::string& ptx, Module& module, std::string& log)
{
    size_t at = ptx.find(".version");
    int major = 0, minor = 0;
    if (at == std::string::npos || std::sscanf(ptx.c_str() + at, ".version %d.%d", &major, &minor) != 2)
    {
        log = "ptxas fatal : Missing .version directive";
        return kInvalidPtx;
    }
    if (major > kMostPtxMajor || (major == kMostPtxMajor && minor > kMostPtxMinor))
    {
        log = "ptxas fatal : Unsupported .version " + std::to_string(major) + "." + std::to_string(minor);
        return kUnsupportedPtx;
    }
    at = ptx.find(".target");
    std::string target = at == std::string::npos ? "" : word_after(ptx, at + 7);
    int capability = 0;
    char feature = 0;
    std::sscanf(target.c_str(), "sm_%d%c", &capability, &feature);
    if (capability == 0 || capability > driver().capability || (feature == 'a' && capability != driver().capability))
    {
        log = "ptxas fatal : SM version specified by .target is higher than default SM version assumed, or not this one: " + target;
        return kInvalidPtx;
    }
    if (ptx.find(".extern .func") != std::string::npos)
    {
        log = "ptxas fatal : Unresolved extern function";
        return kInvalidPtx;
    }
    for (at = ptx.find(".entry"); at != std::string::npos; at = ptx.find(".entry", at + 1))
    {
        std::string name = word_after(ptx, at + 6);
        size_t open = ptx.find('(', at), close = ptx.find(')', open), body = ptx.find('{', close);
        std::vector<size_t> sizes;
        for (size_t param = ptx.find(".param", open); param < close; param = ptx.find(".param", param + 1))
            sizes.push_back(argument_size(ptx.substr(param + 6, ptx.find_first_of(",)", param) - param - 6)));
        const softcuda::Kernel* kernel = nullptr;
        for (const softcuda::Kernel& known : kernels())
        {
            if (name == known.name)
                kernel = &known;
        }
        if (kernel == nullptr)
        {
            log = "softcuda has no kernel " + name + ": the library is older than the PTX";
            return kInvalidPtx;
        }
        if (kernel->sizes != sizes)
        {
            log = "softcuda's kernel " + name + " takes other arguments than the PTX: the library is older than the PTX";
            return kInvalidPtx;
        }
        int most = kMostThreads;
        size_t limit = ptx.find(".maxntid", close);
        if (limit < body)
            most = std::atoi(ptx.c_str() + limit + 8);
        module.functions[name] = std::unique_ptr<Function>(new Function{kernel, most});
    }
    return kSuccess;
}

// A stream of the current context.
std::shared_ptr<Stream> find(void* stream)
{
    if (stream == nullptr)
        return driver().null_stream;
    for (const auto& known : driver().streams)
    {
        if (known.get() == stream && known->context == t_context)
            return known;
    }
    return nullptr;
}

// Whether [at, at + bytes) lies in one allocation of the current context.
bool on_device(Pointer at, size_t bytes)
{
    auto next = driver().memory.upper_bound(at);
    if (next == driver().memory.begin())
        return false;
    auto& [start, allocation] = *std::prev(next);
    return at + bytes <= start + allocation.bytes && allocation.context == t_context;
}
} // namespace

void softcuda::add_kernel(Kernel kernel) { kernels().push_back(std::move(kernel)); }

// ---- what tests ask for ----

/// Makes the n-th call of a function from now on fail.
API void softcuda_fail(const char* function, int nth, int result)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    driver().injections.push_back({0, function, nth, result});
}

/// The same among the calls that are made for one device.
API void softcuda_fail_on(int device, const char* function, int nth, int result)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    driver().injections.push_back({device + 1, function, nth, result});
}

/// Forgets injected failures and, as a new process would, the error that a kernel left.
API void softcuda_reset()
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    driver().injections.clear();
    for (Context& context : driver().context)
        context.broken = kSuccess;
    driver().last_failure.clear();
}

/// What has been allocated and not yet released: device memory, host memory, streams, events, modules.
API void softcuda_live(long long* counts)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    counts[0] = (long long)driver().memory.size();
    counts[1] = (long long)(driver().host.size() + driver().registered.size());
    counts[2] = (long long)driver().streams.size();
    counts[3] = (long long)driver().events.size();
    counts[4] = (long long)driver().modules.size();
}

/// Bytes copied so far to devices, and from them.
API void softcuda_copied(long long* bytes)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    bytes[0] = (long long)driver().copied_in;
    bytes[1] = (long long)driver().copied_out;
}

/// What the last kernel did wrong, for people; empty when none did.
API const char* softcuda_failure() { return driver().last_failure.c_str(); }

// ---- the driver ----

API Result cuInit(unsigned flags)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    if (Result result = injected("cuInit"))
        return result;
    if (flags != 0)
        return kInvalidValue;
    if (driver().devices == 0)
        return kNoDevice;
    driver().initialized = true;
    return kSuccess;
}

API Result cuDriverGetVersion(int* version) { *version = 12080; return kSuccess; }

API Result cuDeviceGetCount(int* count) { ENTER("cuDeviceGetCount"); *count = driver().devices; return kSuccess; }

API Result cuDeviceGet(int* device, int ordinal)
{
    ENTER("cuDeviceGet");
    if (ordinal < 0 || ordinal >= driver().devices)
        return kInvalidDevice;
    *device = ordinal;
    return kSuccess;
}

API Result cuDeviceGetName(char* name, int length, int) { ENTER("cuDeviceGetName"); std::snprintf(name, length, "softcuda (host, tests only)"); return kSuccess; }

API Result cuDeviceTotalMem_v2(size_t* bytes, int) { ENTER("cuDeviceTotalMem_v2"); *bytes = driver().total; return kSuccess; }

API Result cuDeviceGetAttribute(int* value, int attribute, int device)
{
    ENTER("cuDeviceGetAttribute");
    switch (attribute)
    {
        case 1: *value = kMostThreads; break;                       // threads per block
        case 16: *value = 4; break;                                 // multiprocessors
        case 33: *value = 0; break;                                 // PCI bus
        case 34: *value = device; break;                               // PCI device
        case 38: *value = 4 << 20; break;                           // second-level cache
        case 50: *value = 0; break;                                 // PCI domain
        case 75: *value = driver().capability / 10; break;
        case 76: *value = driver().capability % 10; break;
        case 97: *value = (int)driver().shared_limit; break;        // shared memory per block, opted in
        default: return kInvalidValue;
    }
    return kSuccess;
}

API Result cuDevicePrimaryCtxRetain(void** context, int device)
{
    ENTER("cuDevicePrimaryCtxRetain");
    driver().contexts++;
    *context = (void*)(size_t)(device + 1);
    return kSuccess;
}

// Works on a broken context as well.
API Result cuCtxSetCurrent(void* context)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    if (Result result = injected("cuCtxSetCurrent"))
        return result;
    if (!driver().initialized)
        return kNotInitialized;
    if ((size_t)context > (size_t)driver().devices || (context != nullptr && driver().contexts == 0))
        return kInvalidContext;
    t_context = (int)(size_t)context;
    return kSuccess;
}

API Result cuModuleLoadDataEx(void** module, const char* image, unsigned count, const int* options, void** values)
{
    ENTER("cuModuleLoadDataEx");
    auto loaded = std::make_unique<Module>();
    std::string log;
    Result result = load(image, *loaded, log);
    for (unsigned i = 0; i + 1 < count; i++)
    {
        if (options[i] == 5 && options[i + 1] == 6 && !log.empty()) // error log: buffer, then its size
            std::snprintf((char*)values[i], (size_t)values[i + 1], "%s", log.c_str());
    }
    if (result != kSuccess)
        return result;
    *module = loaded.release();
    driver().modules.insert((Module*)*module);
    return kSuccess;
}

API Result cuModuleGetFunction(void** function, void* module, const char* name)
{
    ENTER("cuModuleGetFunction");
    if (driver().modules.count((Module*)module) == 0 || ((Module*)module)->context != t_context)
        return kInvalidHandle;
    auto& functions = ((Module*)module)->functions;
    auto found = functions.find(name);
    if (found == functions.end())
        return kNotFound;
    *function = found->second.get();
    return kSuccess;
}

// The host's compiler has no registers of a GPU to count, nor spills.
API Result cuFuncGetAttribute(int* value, int attribute, void*)
{
    ENTER("cuFuncGetAttribute");
    if (attribute != 3 && attribute != 4) // local bytes, registers
        return kInvalidValue;
    *value = 0;
    return kSuccess;
}

API Result cuFuncSetAttribute(void* function, int attribute, int value)
{
    ENTER("cuFuncSetAttribute");
    if (attribute != 8 || value < 0 || (size_t)value > driver().shared_limit)
        return kInvalidValue;
    ((Function*)function)->shared = (size_t)value;
    return kSuccess;
}

API Result cuMemGetInfo_v2(size_t* free, size_t* total) { ENTER("cuMemGetInfo_v2"); *total = driver().total; *free = driver().total - driver().context[t_context].used; return kSuccess; }

API Result cuMemAlloc_v2(Pointer* at, size_t bytes)
{
    ENTER("cuMemAlloc_v2");
    if (bytes == 0)
        return kInvalidValue;
    Allocation allocation = {};
    size_t& used = driver().context[t_context].used;
    if (bytes > driver().total - used || !reserve(allocation, bytes))
        return kOutOfMemory;
    used += bytes;
    *at = (Pointer)start_of(allocation);
    driver().memory[*at] = allocation;
    return kSuccess;
}

API Result cuMemFree_v2(Pointer at)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    auto found = driver().memory.find(at);
    if (found == driver().memory.end())
        return kInvalidValue;
    // As the real one: waits for the work that may use it.
    for (const auto& stream : driver().streams)
    {
        if (stream->context == found->second.context)
            drain(*stream);
    }
    drain(*driver().null_stream);
    driver().context[found->second.context].used -= found->second.bytes;
    munmap(found->second.mapping, found->second.mapped);
    driver().memory.erase(found);
    return kSuccess;
}

API Result cuMemHostAlloc(void** at, size_t bytes, unsigned)
{
    ENTER("cuMemHostAlloc");
    Allocation allocation = {};
    if (bytes == 0)
        return kInvalidValue;
    if (!reserve(allocation, bytes))
        return kOutOfMemory;
    *at = start_of(allocation);
    driver().host[*at] = allocation;
    return kSuccess;
}

API Result cuMemFreeHost(void* at)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    auto found = driver().host.find(at);
    if (found == driver().host.end())
        return kInvalidValue;
    munmap(found->second.mapping, found->second.mapped);
    driver().host.erase(found);
    return kSuccess;
}

/// Nothing to do for memory that is where the kernels run; what is registered must be released.
API Result cuMemHostRegister_v2(void* at, size_t bytes, unsigned)
{
    ENTER("cuMemHostRegister_v2");
    if (at == nullptr || bytes == 0 || !driver().registered.insert(at).second)
        return kInvalidValue;
    return kSuccess;
}

API Result cuMemHostUnregister(void* at)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    return driver().registered.erase(at) == 1 ? kSuccess : kInvalidValue;
}

API Result cuStreamCreate(void** stream, unsigned)
{
    ENTER("cuStreamCreate");
    auto created = std::make_shared<Stream>();
    driver().streams.insert(created);
    *stream = created.get();
    return kSuccess;
}

API Result cuStreamDestroy_v2(void* stream)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr || stream == nullptr)
        return kInvalidHandle;
    drain(*known);
    driver().streams.erase(known);
    return kSuccess;
}

API Result cuStreamSynchronize(void* stream)
{
    ENTER("cuStreamSynchronize");
    std::shared_ptr<Stream> known = find(stream);
    return known == nullptr ? kInvalidHandle : drain(*known);
}

API Result cuEventCreate(void** event, unsigned)
{
    ENTER("cuEventCreate");
    *event = new Event;
    driver().events.insert((Event*)*event);
    return kSuccess;
}

API Result cuEventDestroy_v2(void* event)
{
    std::lock_guard<std::recursive_mutex> guard(driver().lock);
    if (driver().events.count((Event*)event) == 0)
        return kInvalidHandle;
    if (((Event*)event)->stream != nullptr)
        drain(*((Event*)event)->stream);
    driver().events.erase((Event*)event);
    delete (Event*)event;
    return kSuccess;
}

API Result cuEventRecord(void* event, void* stream)
{
    ENTER("cuEventRecord");
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr || driver().events.count((Event*)event) == 0 || ((Event*)event)->context != t_context)
        return kInvalidHandle;
    auto* recorded = (Event*)event;
    recorded->stream = known;
    recorded->pending = true;
    known->work.push_back([recorded] {
        recorded->pending = false;
        recorded->milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
        return kSuccess;
    });
    return kSuccess;
}

namespace
{
Result wait_for(Event* event)
{
    while (event->pending && broken(event->context) == kSuccess)
    {
        std::function<Result()> work = std::move(event->stream->work.front());
        event->stream->work.pop_front();
        if (Result result = work())
            broken(event->context) = result;
    }
    return broken(event->context);
}
} // namespace

API Result cuEventSynchronize(void* event)
{
    ENTER("cuEventSynchronize");
    return driver().events.count((Event*)event) == 0 ? kInvalidHandle : wait_for((Event*)event);
}

API Result cuEventElapsedTime(float* milliseconds, void* start, void* end)
{
    ENTER("cuEventElapsedTime");
    if (driver().events.count((Event*)start) == 0 || driver().events.count((Event*)end) == 0)
        return kInvalidHandle;
    if (((Event*)start)->pending || ((Event*)end)->pending)
        return kNotReady;
    *milliseconds = (float)(((Event*)end)->milliseconds - ((Event*)start)->milliseconds);
    return kSuccess;
}

API Result cuStreamWaitEvent(void* stream, void* event, unsigned)
{
    ENTER("cuStreamWaitEvent");
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr || driver().events.count((Event*)event) == 0)
        return kInvalidHandle;
    auto* awaited = (Event*)event;
    if (awaited->pending)
        known->work.push_back([awaited] { return wait_for(awaited); });
    return kSuccess;
}

API Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream)
{
    ENTER("cuMemcpyHtoDAsync_v2");
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr)
        return kInvalidHandle;
    if (!on_device(to, bytes))
        return kInvalidValue;
    driver().copied_in += bytes;
    known->work.push_back([=] { std::memcpy((void*)to, from, bytes); return kSuccess; });
    return kSuccess;
}

API Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream)
{
    ENTER("cuMemcpyDtoHAsync_v2");
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr)
        return kInvalidHandle;
    if (!on_device(from, bytes))
        return kInvalidValue;
    driver().copied_out += bytes;
    known->work.push_back([=] { std::memcpy(to, (const void*)from, bytes); return kSuccess; });
    return kSuccess;
}

API Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream)
{
    ENTER("cuMemcpyDtoDAsync_v2");
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr)
        return kInvalidHandle;
    if (!on_device(to, bytes) || !on_device(from, bytes))
        return kInvalidValue;
    known->work.push_back([=] { std::memmove((void*)to, (const void*)from, bytes); return kSuccess; });
    return kSuccess;
}

API Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void* stream)
{
    ENTER("cuMemsetD8Async");
    std::shared_ptr<Stream> known = find(stream);
    if (known == nullptr)
        return kInvalidHandle;
    if (!on_device(to, bytes))
        return kInvalidValue;
    known->work.push_back([=] { std::memset((void*)to, value, bytes); return kSuccess; });
    return kSuccess;
}

API Result cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned threads, unsigned block_y, unsigned block_z,
    unsigned shared, void* stream, void** arguments, void**)
{
    ENTER("cuLaunchKernel");
    auto* known = (Function*)function;
    std::shared_ptr<Stream> queue = find(stream);
    if (queue == nullptr || known->context != t_context)
        return kInvalidHandle;
    if (grid_x == 0 || grid_y == 0 || grid_y > 65535 || grid_z != 1 || block_y != 1 || block_z != 1 || threads == 0 || shared > known->shared)
        return kInvalidValue;
    if (threads > (unsigned)known->most_threads)
        return kOutOfResources;
    auto call = std::make_shared<Call>();
    call->context = t_context;
    call->kernel = known->kernel;
    for (size_t i = 0; i < known->kernel->sizes.size(); i++)
    {
        auto* bytes = (unsigned char*)arguments[i];
        call->arguments.emplace_back(bytes, bytes + known->kernel->sizes[i]);
    }
    queue->work.push_back([=] { return launch(*call, (int)grid_x, (int)grid_y, (int)threads, shared); });
    return kSuccess;
}

API Result cuGetErrorName(Result code, const char** name)
{
    for (const ErrorText& error : kErrors)
    {
        if (error.code == code)
            return *name = error.name, kSuccess;
    }
    return *name = nullptr, kInvalidValue;
}

API Result cuGetErrorString(Result code, const char** text)
{
    for (const ErrorText& error : kErrors)
    {
        if (error.code == code)
            return *text = error.text, kSuccess;
    }
    return *text = nullptr, kInvalidValue;
}
