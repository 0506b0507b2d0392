// A C interface to libtorch: any operator by its name through the dispatcher, and the few things that no operator does.
//
//   Every function that returns int returns 0, or 1 with the text of the error in mmesid_torch_last_error() of the same thread.
//   A tensor is a counted reference to libtorch's TensorImpl; who receives one owns one reference and gives it back with
//   mmesid_torch_tensor_release. Nothing is thrown across this interface and nothing is printed.
//   The C# side is TorchSharp.Subset/Interop/Shim.cs, in the same order.
#pragma once

#include <stdint.h>

#define MMESID_TORCH_ABI 1

#if defined(_WIN32)
#define MMESID_TORCH_API __declspec(dllexport)
#else
#define MMESID_TORCH_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mmesid_tensor mmesid_tensor;
typedef struct mmesid_operator mmesid_operator;
typedef struct mmesid_generator mmesid_generator;
typedef struct mmesid_inference mmesid_inference;

enum mmesid_kind {
  kMmesidNone = 0,
  kMmesidTensor = 1,           // payload: mmesid_tensor*, null for an undefined tensor
  kMmesidInt = 2,              // payload: the number; also dtypes and layouts
  kMmesidDouble = 3,           // payload: the bits of the double
  kMmesidBool = 4,             // payload: 0 or 1
  kMmesidInts = 5,             // payload: const int64_t* of count
  kMmesidDoubles = 6,          // payload: const double* of count
  kMmesidTensors = 7,          // payload: mmesid_tensor* const* of count
  kMmesidOptionalTensors = 8,  // the same, null where there is none
  kMmesidText = 9,             // payload: const char* of count bytes, UTF-8
  kMmesidDevice = 10,          // payload: type << 32 | index as uint32
  kMmesidGenerator = 11,       // payload: mmesid_generator*
};

typedef struct mmesid_value {
  int32_t kind;
  int32_t count;
  int64_t payload;
} mmesid_value;

typedef struct mmesid_tensor_facts {
  int64_t dimensions;
  int64_t elements;
  int64_t element_size;
  int32_t dtype;
  int32_t device_type;
  int32_t device_index;
  uint8_t requires_grad;
  uint8_t is_leaf;
  uint8_t is_contiguous;
  uint8_t is_defined;
} mmesid_tensor_facts;

// Of the library itself; to be compared before anything else is called.
MMESID_TORCH_API int mmesid_torch_abi(int* abi, int* value_bytes, int* facts_bytes);
MMESID_TORCH_API const char* mmesid_torch_last_error(void);
MMESID_TORCH_API const char* mmesid_torch_version(void);
// libtorch's own account of how it was built: BLAS, OpenMP, oneDNN, CPU capability.
MMESID_TORCH_API int mmesid_torch_configuration(const char** text);

// Operators live as long as the process. The results of a call stay valid until the next call of the same thread; tensors among them are owned by the caller.
// Arguments that are left out at the end take the defaults of the operator's schema.
MMESID_TORCH_API int mmesid_torch_operator(const char* name, const char* overload, mmesid_operator** op);
MMESID_TORCH_API int mmesid_torch_call(mmesid_operator* op, const mmesid_value* arguments, int count, const mmesid_value** results, int* result_count);

MMESID_TORCH_API int mmesid_torch_tensor_from_memory(const void* data, int64_t bytes, int dtype, const int64_t* sizes, int dimensions, mmesid_tensor** tensor);
MMESID_TORCH_API void mmesid_torch_tensor_release(mmesid_tensor* tensor);
MMESID_TORCH_API int mmesid_torch_tensor_facts(mmesid_tensor* tensor, mmesid_tensor_facts* facts);
MMESID_TORCH_API int mmesid_torch_tensor_sizes(mmesid_tensor* tensor, int64_t* sizes, int64_t* strides);
MMESID_TORCH_API int mmesid_torch_tensor_data(mmesid_tensor* tensor, void** data);

MMESID_TORCH_API int mmesid_torch_tensor_require_grad(mmesid_tensor* tensor, int required);
MMESID_TORCH_API int mmesid_torch_tensor_retain_grad(mmesid_tensor* tensor);
// Null where there is none.
MMESID_TORCH_API int mmesid_torch_tensor_grad(mmesid_tensor* tensor, mmesid_tensor** grad);
MMESID_TORCH_API int mmesid_torch_tensor_set_grad(mmesid_tensor* tensor, mmesid_tensor* grad);
// grads: null, or one per output, null where an output is a scalar.
MMESID_TORCH_API int mmesid_torch_backward(mmesid_tensor* const* outputs, mmesid_tensor* const* grads, int outputs_count, mmesid_tensor* const* inputs, int inputs_count, int retain_graph, int create_graph);
// results: room for inputs_count tensors, null where an input was not used.
MMESID_TORCH_API int mmesid_torch_grad(mmesid_tensor* const* outputs, mmesid_tensor* const* grads, int outputs_count, mmesid_tensor* const* inputs, int inputs_count, int retain_graph, int create_graph, int allow_unused, mmesid_tensor** results);

// Of the calling thread.
MMESID_TORCH_API int mmesid_torch_grad_mode(void);
MMESID_TORCH_API void mmesid_torch_set_grad_mode(int enabled);
MMESID_TORCH_API int mmesid_torch_inference_mode(void);
// Left by the thread that entered.
MMESID_TORCH_API int mmesid_torch_inference_enter(int enabled, mmesid_inference** mode);
MMESID_TORCH_API void mmesid_torch_inference_leave(mmesid_inference* mode);

MMESID_TORCH_API int mmesid_torch_threads(void);
MMESID_TORCH_API int mmesid_torch_set_threads(int threads);
MMESID_TORCH_API int mmesid_torch_cuda_devices(int* count);
MMESID_TORCH_API int mmesid_torch_cuda_synchronize(int device);

// Seeds the default generators of every device.
MMESID_TORCH_API int mmesid_torch_seed_all(uint64_t seed);
// A generator of its own, or a reference to the device's default one.
MMESID_TORCH_API int mmesid_torch_generator(int device_type, int device_index, int is_default, mmesid_generator** generator);
MMESID_TORCH_API void mmesid_torch_generator_release(mmesid_generator* generator);
MMESID_TORCH_API int mmesid_torch_generator_seed(mmesid_generator* generator, uint64_t seed);
MMESID_TORCH_API int mmesid_torch_generator_initial_seed(mmesid_generator* generator, uint64_t* seed);
MMESID_TORCH_API int mmesid_torch_generator_state(mmesid_generator* generator, mmesid_tensor** state);
MMESID_TORCH_API int mmesid_torch_generator_set_state(mmesid_generator* generator, mmesid_tensor* state);

#ifdef __cplusplus
}
#endif
