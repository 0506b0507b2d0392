#include "fibers.h"

#include <sys/mman.h>

#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace softcuda
{
namespace
{
constexpr size_t kStack = 128 << 10, kPage = 4096;

// Context switches. ucontext would ask the kernel for the signal mask each time; a warp's operation takes 32 of them.
#if defined(__x86_64__)
using Context = void*;

extern "C" void softcuda_switch(Context* save, Context* load);
asm(R"(
.text
.globl softcuda_switch
.hidden softcuda_switch
.type softcuda_switch, @function
softcuda_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size softcuda_switch, .-softcuda_switch
)");

void switch_to(Context* save, Context* load) { softcuda_switch(save, load); }

void prepare(Context* context, unsigned char* stack, void (*entry)())
{
    void** top = (void**)(stack + kStack);
    *--top = nullptr; // the entry never returns; its stack is aligned as after a call
    *--top = (void*)entry;
    top -= 6;
    std::memset(top, 0, 6 * sizeof(void*));
    *context = top;
}
#else
using Context = ucontext_t;

void switch_to(Context* save, Context* load) { swapcontext(save, load); }

void prepare(Context* context, unsigned char* stack, void (*entry)())
{
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = kStack;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
}
#endif

enum class State { Ready, AtBarrier, InCollective, Polling, Done };

struct Fiber
{
    Context context;
    State state;
    unsigned generation; // of the warp, that a collective waits to pass
    std::deque<std::vector<PendingCopy>> committed;
    std::vector<PendingCopy> issued;
    std::deque<std::vector<GroupProduct>> products;
    std::vector<GroupProduct> issued_products;
};

struct Scheduler
{
    Context own;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned char*> stacks;
    std::vector<BulkCopy> bulk_copies;
    void (*body)(void*);
    void* argument;
    const char* error;

    ~Scheduler()
    {
        for (unsigned char* stack : stacks)
            munmap(stack - kPage, kStack + kPage);
    }

    void reserve(int threads)
    {
        while ((int)stacks.size() < threads)
        {
            // The page below a stack stays closed: a kernel that recurses or has large local arrays faults instead of writing elsewhere.
            auto* memory = (unsigned char*)mmap(nullptr, kStack + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            mprotect(memory + kPage, kStack, PROT_READ | PROT_WRITE);
            stacks.push_back(memory + kPage);
        }
    }
};

thread_local Scheduler owned;
// Of the running block. `owned` itself is asked for its construction at every use.
thread_local Scheduler* scheduler = nullptr;

void yield() { switch_to(&scheduler->fibers[thread].context, &scheduler->own); }

void perform(std::vector<PendingCopy>& copies)
{
    for (const PendingCopy& copy : copies)
    {
        std::memcpy(copy.to, copy.from, copy.valid);
        std::memset((unsigned char*)copy.to + copy.valid, 0, 16 - copy.valid);
    }
    copies.clear();
}

void enter()
{
    scheduler->body(scheduler->argument);
    scheduler->fibers[thread].state = State::Done;
    yield();
}
} // namespace

thread_local Block block;
thread_local int thread;

Warp& warp() { return scheduler->warps[thread / kWarp]; }

void sync_block()
{
    scheduler->fibers[thread].state = State::AtBarrier;
    yield();
}

bool arrive(const void* operation)
{
    Warp& own = warp();
    if (own.arrived > 0 && own.operation != operation)
        scheduler->error = "lanes of a warp are in different collective operations";
    own.operation = operation;
    if (++own.arrived == kWarp)
        return true;
    Fiber& fiber = scheduler->fibers[thread];
    fiber.state = State::InCollective;
    fiber.generation = own.generation;
    yield();
    return false;
}

void complete()
{
    Warp& own = warp();
    own.arrived = 0;
    own.generation++;
}

void copy_async(void* to, const void* from, int valid) { scheduler->fibers[thread].issued.push_back({to, from, valid}); }

void copy_async_commit()
{
    Fiber& fiber = scheduler->fibers[thread];
    fiber.committed.push_back(std::move(fiber.issued));
    fiber.issued.clear();
}

void copy_async_wait(int pending)
{
    Fiber& fiber = scheduler->fibers[thread];
    while ((int)fiber.committed.size() > pending)
    {
        perform(fiber.committed.front());
        fiber.committed.pop_front();
    }
}

void fail(const char* error)
{
    scheduler->error = error;
    yield();
}

// A barrier's 64 bits here: completed phases, whether its thread has arrived in this one, bytes that were announced less those that came.
namespace
{
struct BarrierState
{
    uint16_t phases, arrived;
    int32_t bytes;
};
static_assert(sizeof(BarrierState) == sizeof(uint64_t));

BarrierState& state_of(uint64_t* barrier) { return *(BarrierState*)barrier; }

void complete_if_done(BarrierState& barrier)
{
    if (barrier.arrived == 0 || barrier.bytes != 0)
        return;
    barrier.phases++;
    barrier.arrived = 0;
}
} // namespace

void barrier_create(uint64_t* barrier) { state_of(barrier) = {}; }

void barrier_expect(uint64_t* barrier, unsigned bytes)
{
    BarrierState& own = state_of(barrier);
    if (own.arrived != 0)
        return fail("a barrier is arrived at twice in a phase");
    own.arrived = 1;
    own.bytes += (int32_t)bytes;
    complete_if_done(own);
}

void barrier_wait(uint64_t* barrier, unsigned parity)
{
    std::vector<BulkCopy>& copies = scheduler->bulk_copies;
    for (size_t i = 0; i < copies.size();)
    {
        if (copies[i].barrier != barrier)
        {
            i++;
            continue;
        }
        std::memcpy(copies[i].to, copies[i].from, copies[i].bytes);
        state_of(barrier).bytes -= (int32_t)copies[i].bytes;
        complete_if_done(state_of(barrier));
        copies.erase(copies.begin() + (long)i);
    }
    // As the instruction: a phase of this parity is complete when the one that runs has the other.
    while (state_of(barrier).phases % 2 == parity)
    {
        scheduler->fibers[thread].state = State::Polling;
        yield();
    }
}

void copy_bulk(const BulkCopy& copy)
{
    if (((uintptr_t)copy.to | (uintptr_t)copy.from | copy.bytes) % 16 != 0)
        return fail("a bulk copy is not aligned to 16 bytes");
    scheduler->bulk_copies.push_back(copy);
}

void group_multiply(const GroupProduct& product) { scheduler->fibers[thread].issued_products.push_back(product); }

void group_commit()
{
    Fiber& fiber = scheduler->fibers[thread];
    fiber.products.push_back(std::move(fiber.issued_products));
    fiber.issued_products.clear();
}

void group_wait(int pending)
{
    Fiber& fiber = scheduler->fibers[thread];
    while ((int)fiber.products.size() > pending)
    {
        for (const GroupProduct& product : fiber.products.front())
            product.multiply(product);
        fiber.products.pop_front();
    }
}

const char* run_block(void (*body)(void*), void* argument)
{
    scheduler = &owned;
    int threads = block.threads;
    scheduler->reserve(threads);
    scheduler->fibers.clear();
    scheduler->fibers.resize(threads);
    scheduler->warps.assign((threads + kWarp - 1) / kWarp, Warp{});
    scheduler->body = body;
    scheduler->argument = argument;
    scheduler->error = nullptr;
    scheduler->bulk_copies.clear();
    for (int i = 0; i < threads; i++)
        prepare(&scheduler->fibers[i].context, scheduler->stacks[i], enter);

    // Threads take turns in another order every time, the same ones for a block wherever it runs: what is read before the barrier that it needs
    // is wrong in some of them.
    unsigned random = 1 + block.index_x + 977u * block.index_y;
    for (;;)
    {
        random = random * 1664525u + 1013904223u;
        int ran = 0, done = 0, first = (int)(random >> 8) % threads, stride = 1 + 2 * ((int)(random >> 20) % threads);
        while (std::gcd(stride, threads) != 1)
            stride += 2;
        int index = first, across = stride % threads;
        for (int step = 0; step < threads && scheduler->error == nullptr; step++, index = index + across < threads ? index + across : index + across - threads)
        {
            Fiber& fiber = scheduler->fibers[index];
            if (fiber.state == State::InCollective && scheduler->warps[index / kWarp].generation != fiber.generation)
                fiber.state = State::Ready;
            bool polls = fiber.state == State::Polling;
            if (polls)
                fiber.state = State::Ready;
            if (fiber.state == State::Ready)
            {
                thread = index;
                switch_to(&scheduler->own, &fiber.context);
                ran += !polls || fiber.state != State::Polling;
            }
            done += fiber.state == State::Done;
        }
        if (scheduler->error != nullptr)
            return scheduler->error;
        if (done == threads)
            return nullptr;
        if (ran > 0)
            continue;
        // Nobody can run: the barrier opens when all that are left stand at it.
        for (Fiber& fiber : scheduler->fibers)
        {
            if (fiber.state == State::Polling)
                return "threads wait at a barrier for bytes that will not come";
            if (fiber.state == State::InCollective)
                return "lanes of a warp wait for lanes that will not come";
            if (fiber.state == State::AtBarrier)
                fiber.state = State::Ready;
        }
    }
}
} // namespace softcuda
