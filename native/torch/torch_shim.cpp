// The C interface of torch_shim.h over libtorch 1.13 … 2.x, written against what those versions share.

#include "torch_shim.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>
#include <torch/version.h>

namespace {

using TensorPointer = c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>;
// c10::optional in old versions, std::optional in new ones.
using MaybeTensor = decltype(std::declval<const at::IValue&>().toOptional<at::Tensor>());

#if defined(__linux__) && TORCH_VERSION_MAJOR < 2
// The oneDNN of these releases runs AMX products of bfloat16 matrices without a tile configuration, an illegal instruction that ends the
// process (seen with 2.6.3). It reads this before its first product; what the user has set stays.
[[maybe_unused]] const int without_amx = setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", 0);
#endif

thread_local std::string last_error;
thread_local std::vector<mmesid_value> last_results;

template <class Body>
int guarded(Body&& body) noexcept {
  try {
    body();
    return 0;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an exception that is no std::exception";
  }
  return 1;
}

at::TensorImpl* implementation(mmesid_tensor* tensor) { return reinterpret_cast<at::TensorImpl*>(tensor); }

at::Tensor borrow(mmesid_tensor* tensor) {
  return tensor == nullptr ? at::Tensor() : at::Tensor(TensorPointer::reclaim_copy(implementation(tensor)));
}

mmesid_tensor* give(at::Tensor tensor) {
  return tensor.defined() ? reinterpret_cast<mmesid_tensor*>(tensor.unsafeReleaseTensorImpl()) : nullptr;
}

std::vector<at::Tensor> borrow(mmesid_tensor* const* tensors, int count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (int i = 0; i < count; ++i)
    list.push_back(borrow(tensors[i]));
  return list;
}

at::Generator& generator_of(mmesid_generator* generator) { return *reinterpret_cast<at::Generator*>(generator); }

at::IValue to_ivalue(const mmesid_value& value) {
  switch (value.kind) {
    case kMmesidNone:
      return at::IValue();
    case kMmesidTensor:
      return borrow(reinterpret_cast<mmesid_tensor*>(value.payload));
    case kMmesidInt:
      return value.payload;
    case kMmesidDouble: {
      double number;
      std::memcpy(&number, &value.payload, sizeof number);
      return number;
    }
    case kMmesidBool:
      return value.payload != 0;
    case kMmesidInts:
      return at::IntArrayRef(reinterpret_cast<const int64_t*>(value.payload), value.count);
    case kMmesidDoubles:
      return at::ArrayRef<double>(reinterpret_cast<const double*>(value.payload), value.count);
    case kMmesidTensors: {
      c10::List<at::Tensor> list;
      list.reserve(value.count);
      for (int i = 0; i < value.count; ++i)
        list.push_back(borrow(reinterpret_cast<mmesid_tensor* const*>(value.payload)[i]));
      return list;
    }
    case kMmesidOptionalTensors: {
      c10::List<MaybeTensor> list;
      list.reserve(value.count);
      for (int i = 0; i < value.count; ++i) {
        mmesid_tensor* tensor = reinterpret_cast<mmesid_tensor* const*>(value.payload)[i];
        list.push_back(tensor == nullptr ? MaybeTensor() : MaybeTensor(borrow(tensor)));
      }
      return list;
    }
    case kMmesidText:
      return std::string(reinterpret_cast<const char*>(value.payload), value.count);
    case kMmesidDevice:
      return c10::Device(static_cast<c10::DeviceType>(value.payload >> 32), static_cast<c10::DeviceIndex>(static_cast<int32_t>(value.payload)));
    case kMmesidGenerator:
      return generator_of(reinterpret_cast<mmesid_generator*>(value.payload));
    default:
      TORCH_CHECK(false, "an argument has the unknown kind ", value.kind);
  }
}

mmesid_value tensor_value(at::Tensor tensor) {
  return {kMmesidTensor, 0, reinterpret_cast<int64_t>(give(std::move(tensor)))};
}

void append_result(at::IValue& value) {
  if (value.isTensor()) {
    last_results.push_back(tensor_value(std::move(value).toTensor()));
  } else if (value.isTensorList()) {
    for (at::Tensor tensor : value.toTensorVector())
      last_results.push_back(tensor_value(std::move(tensor)));
  } else if (value.isInt()) {
    last_results.push_back({kMmesidInt, 0, value.toInt()});
  } else if (value.isBool()) {
    last_results.push_back({kMmesidBool, 0, value.toBool() ? 1 : 0});
  } else if (value.isDouble()) {
    mmesid_value result{kMmesidDouble, 0, 0};
    const double number = value.toDouble();
    std::memcpy(&result.payload, &number, sizeof number);
    last_results.push_back(result);
  } else {
    TORCH_CHECK(false, "a result of type ", value.tagKind(), " cannot be handed over");
  }
}

}  // namespace

extern "C" {

int mmesid_torch_abi(int* abi, int* value_bytes, int* facts_bytes) {
  *abi = MMESID_TORCH_ABI;
  *value_bytes = sizeof(mmesid_value);
  *facts_bytes = sizeof(mmesid_tensor_facts);
  return 0;
}

const char* mmesid_torch_last_error(void) { return last_error.c_str(); }

const char* mmesid_torch_version(void) { return TORCH_VERSION; }

int mmesid_torch_configuration(const char** text) {
  return guarded([&] {
    static const std::string configuration = at::show_config() + at::get_parallel_info();
    *text = configuration.c_str();
  });
}

int mmesid_torch_operator(const char* name, const char* overload, mmesid_operator** op) {
  return guarded([&] {
    auto found = c10::Dispatcher::singleton().findSchema({name, overload});
    TORCH_CHECK(found.has_value(), "libtorch ", TORCH_VERSION, " has no operator ", name, *overload == 0 ? "" : ".", overload);
    *op = reinterpret_cast<mmesid_operator*>(new c10::OperatorHandle(*found));
  });
}

int mmesid_torch_call(mmesid_operator* op, const mmesid_value* arguments, int count, const mmesid_value** results, int* result_count) {
  return guarded([&] {
    const auto& handle = *reinterpret_cast<c10::OperatorHandle*>(op);
    const auto& expected = handle.schema().arguments();
    TORCH_CHECK(count <= static_cast<int>(expected.size()), "takes ", expected.size(), " arguments, ", count, " were given");
    torch::jit::Stack stack;
    stack.reserve(expected.size());
    for (int i = 0; i < count; ++i)
      stack.push_back(to_ivalue(arguments[i]));
    for (size_t i = count; i < expected.size(); ++i) {
      TORCH_CHECK(expected[i].default_value().has_value(), "the argument ", expected[i].name(), " has no default and was not given");
      stack.push_back(*expected[i].default_value());
    }
    handle.callBoxed(&stack);
    last_results.clear();
    for (at::IValue& value : stack)
      append_result(value);
    *results = last_results.data();
    *result_count = static_cast<int>(last_results.size());
  });
}

int mmesid_torch_tensor_from_memory(const void* data, int64_t bytes, int dtype, const int64_t* sizes, int dimensions, mmesid_tensor** tensor) {
  return guarded([&] {
    at::Tensor result = at::empty(at::IntArrayRef(sizes, dimensions), at::TensorOptions().dtype(static_cast<at::ScalarType>(dtype)));
    TORCH_CHECK(static_cast<int64_t>(result.nbytes()) == bytes, "shape ", result.sizes(), " of ", result.scalar_type(), " takes ", result.nbytes(), " bytes, ", bytes, " were given");
    if (bytes > 0)
      std::memcpy(result.data_ptr(), data, bytes);
    *tensor = give(std::move(result));
  });
}

void mmesid_torch_tensor_release(mmesid_tensor* tensor) {
  if (tensor != nullptr)
    TensorPointer::reclaim(implementation(tensor));
}

int mmesid_torch_tensor_facts(mmesid_tensor* tensor, mmesid_tensor_facts* facts) {
  return guarded([&] {
    const at::Tensor t = borrow(tensor);
    facts->dimensions = t.dim();
    facts->elements = t.numel();
    facts->element_size = t.element_size();
    facts->dtype = static_cast<int32_t>(t.scalar_type());
    facts->device_type = static_cast<int32_t>(t.device().type());
    facts->device_index = t.device().index();
    facts->requires_grad = t.requires_grad();
    facts->is_leaf = t.is_leaf();
    facts->is_contiguous = t.is_contiguous();
    facts->is_defined = t.defined();
  });
}

int mmesid_torch_tensor_sizes(mmesid_tensor* tensor, int64_t* sizes, int64_t* strides) {
  return guarded([&] {
    const at::Tensor t = borrow(tensor);
    std::memcpy(sizes, t.sizes().data(), t.dim() * sizeof(int64_t));
    std::memcpy(strides, t.strides().data(), t.dim() * sizeof(int64_t));
  });
}

int mmesid_torch_tensor_data(mmesid_tensor* tensor, void** data) {
  return guarded([&] { *data = borrow(tensor).data_ptr(); });
}

int mmesid_torch_tensor_require_grad(mmesid_tensor* tensor, int required) {
  return guarded([&] { borrow(tensor).requires_grad_(required != 0); });
}

int mmesid_torch_tensor_retain_grad(mmesid_tensor* tensor) {
  return guarded([&] { borrow(tensor).retain_grad(); });
}

int mmesid_torch_tensor_grad(mmesid_tensor* tensor, mmesid_tensor** grad) {
  return guarded([&] { *grad = give(borrow(tensor).grad()); });
}

int mmesid_torch_tensor_set_grad(mmesid_tensor* tensor, mmesid_tensor* grad) {
  return guarded([&] { borrow(tensor).mutable_grad() = borrow(grad); });
}

int mmesid_torch_backward(mmesid_tensor* const* outputs, mmesid_tensor* const* grads, int outputs_count, mmesid_tensor* const* inputs, int inputs_count, int retain_graph, int create_graph) {
  return guarded([&] {
    torch::autograd::backward(borrow(outputs, outputs_count), grads == nullptr ? std::vector<at::Tensor>() : borrow(grads, outputs_count), retain_graph != 0,
                              create_graph != 0, borrow(inputs, inputs_count));
  });
}

int mmesid_torch_grad(mmesid_tensor* const* outputs, mmesid_tensor* const* grads, int outputs_count, mmesid_tensor* const* inputs, int inputs_count, int retain_graph, int create_graph, int allow_unused, mmesid_tensor** results) {
  return guarded([&] {
    auto found = torch::autograd::grad(borrow(outputs, outputs_count), borrow(inputs, inputs_count), grads == nullptr ? std::vector<at::Tensor>() : borrow(grads, outputs_count),
                                       retain_graph != 0, create_graph != 0, allow_unused != 0);
    for (int i = 0; i < inputs_count; ++i)
      results[i] = give(std::move(found[i]));
  });
}

int mmesid_torch_grad_mode(void) { return at::GradMode::is_enabled(); }

void mmesid_torch_set_grad_mode(int enabled) { at::GradMode::set_enabled(enabled != 0); }

int mmesid_torch_inference_mode(void) { return c10::InferenceMode::is_enabled(); }

int mmesid_torch_inference_enter(int enabled, mmesid_inference** mode) {
  return guarded([&] { *mode = reinterpret_cast<mmesid_inference*>(new c10::InferenceMode(enabled != 0)); });
}

void mmesid_torch_inference_leave(mmesid_inference* mode) { delete reinterpret_cast<c10::InferenceMode*>(mode); }

int mmesid_torch_threads(void) { return at::get_num_threads(); }

int mmesid_torch_set_threads(int threads) {
  return guarded([&] { at::set_num_threads(threads); });
}

int mmesid_torch_cuda_devices(int* count) {
  return guarded([&] { *count = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0; });
}

int mmesid_torch_cuda_synchronize(int device) {
  return guarded([&] { torch::cuda::synchronize(device); });
}

int mmesid_torch_seed_all(uint64_t seed) {
  return guarded([&] { at::manual_seed(seed); });
}

int mmesid_torch_generator(int device_type, int device_index, int is_default, mmesid_generator** generator) {
  return guarded([&] {
    const c10::Device device(static_cast<c10::DeviceType>(device_type), static_cast<c10::DeviceIndex>(device_index));
    const at::Generator& shared = at::globalContext().defaultGenerator(device);
    *generator = reinterpret_cast<mmesid_generator*>(new at::Generator(is_default != 0 ? shared : shared.clone()));
  });
}

void mmesid_torch_generator_release(mmesid_generator* generator) { delete reinterpret_cast<at::Generator*>(generator); }

int mmesid_torch_generator_seed(mmesid_generator* generator, uint64_t seed) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator_of(generator).mutex());
    generator_of(generator).set_current_seed(seed);
  });
}

int mmesid_torch_generator_initial_seed(mmesid_generator* generator, uint64_t* seed) {
  return guarded([&] { *seed = generator_of(generator).current_seed(); });
}

int mmesid_torch_generator_state(mmesid_generator* generator, mmesid_tensor** state) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator_of(generator).mutex());
    *state = give(generator_of(generator).get_state());
  });
}

int mmesid_torch_generator_set_state(mmesid_generator* generator, mmesid_tensor* state) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator_of(generator).mutex());
    generator_of(generator).set_state(borrow(state));
  });
}

}  // extern "C"
