// The null device: what its kernels share.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>

namespace null_device {

// Values of larger tensors are never worked out: that would be the device's work, done in the host's time.
constexpr int64_t kMostValues = 4096;

// One allocation. `known` says whether its bytes are what a real device would have there.
struct Block {
  void* memory;
  size_t size_class;
  bool known;
};

struct Counts {
  int64_t kernels = 0;
  int64_t hidden = 0;   // of the kernels, those that make an argument contiguous
  int64_t views = 0;
  int64_t waits = 0;    // the host stood still, whatever the device had to do
  int64_t stalls = 0;   // of the waits, those with kernels queued
  int64_t generic = 0;  // of the kernels, those whose shape torch's Meta kernel worked out, which takes longer
};

extern thread_local Counts counts;
extern thread_local int64_t queued;
// The operators behind `generic`, and how often.
extern thread_local std::map<std::string, int64_t> without_rule;

// A kernel was put on the stream, or the host waited for the stream; both take the time that was asked for.
void launched();
void waited();

c10::Allocator* allocator();
c10::Stream current_stream();
c10::Stream new_stream();

inline Block* block_of(const at::Tensor& tensor) {
  return static_cast<Block*>(tensor.storage().data_ptr().get_context());
}

inline bool on_device(const at::Tensor& tensor) {
  return tensor.device().type() == c10::DeviceType::PrivateUse1;
}

// Whether the host may know what is in a tensor.
bool known(const at::Tensor& tensor);
void set_known(const at::Tensor& tensor, bool value);

// Whether an operator on this tensor is computed: small, of whole numbers, and known.
inline bool computed(const at::Tensor& tensor) {
  return !at::isFloatingType(tensor.scalar_type()) && tensor.numel() <= kMostValues && known(tensor);
}

at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type);
at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type);

inline at::Tensor like(const at::Tensor& tensor) {
  return empty(tensor.sizes(), tensor.scalar_type());
}

// The CPU tensor over a device tensor's memory, and the device tensor with a CPU tensor's values.
at::Tensor on_host(const at::Tensor& tensor);
at::Tensor from_host(const at::Tensor& tensor);

// Gives a device tensor other sizes, and memory of its own if it has too little.
void become(const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides);

// A real op that reads dense memory only copies a strided argument first.
at::Tensor dense(const at::Tensor& tensor);

}  // namespace null_device
