// torch's own operators on the null device: each works out the shape of its result, allocates it and returns.
#include "device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ExpandUtils.h>
#include <ATen/NativeFunctions.h>
#include <ATen/TypeDefault.h>
#include <ATen/WrapDimUtils.h>
#include <torch/library.h>

#include <string>
#include <unordered_set>

namespace null_device {
namespace {

using at::IntArrayRef;
using at::Scalar;
using at::ScalarType;
using at::Tensor;
using c10::DispatchKey;
using c10::IValue;
using torch::jit::Stack;

// Memory and views

Tensor empty_memory_format(
    IntArrayRef sizes,
    std::optional<ScalarType> type,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>,
    std::optional<at::MemoryFormat> format) {
  return Tensor(at::detail::empty_generic(
      sizes,
      allocator(),
      c10::DispatchKeySet(DispatchKey::PrivateUse1),
      type.value_or(at::typeMetaToScalarType(at::get_default_dtype())),
      format));
}

Tensor empty_with_strides(
    IntArrayRef sizes,
    IntArrayRef strides,
    std::optional<ScalarType> type,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>) {
  return empty_strided(sizes, strides, type.value_or(at::typeMetaToScalarType(at::get_default_dtype())));
}

Tensor as_strided(const Tensor& self, IntArrayRef sizes, IntArrayRef strides, std::optional<int64_t> offset) {
  ++counts.views;
  return at::native::as_strided_tensorimpl(self, sizes, strides, offset);
}

Tensor view(const Tensor& self, IntArrayRef sizes) {
  ++counts.views;
  return at::native::view(self, sizes);
}

Tensor reshape_alias(const Tensor& self, IntArrayRef sizes, IntArrayRef strides) {
  ++counts.views;
  return at::native::_reshape_alias(self, sizes, strides);
}

Tensor unfold(const Tensor& self, int64_t dimension, int64_t size, int64_t step) {
  ++counts.views;
  return at::native::unfold(self, dimension, size, step);
}

const Tensor& resize(const Tensor& self, IntArrayRef sizes, std::optional<at::MemoryFormat>) {
  become(self, sizes, c10::contiguous_strides(sizes));
  return self;
}

Tensor& set_storage(Tensor& self, at::Storage storage, int64_t offset, IntArrayRef sizes, IntArrayRef strides) {
  auto* inside = self.unsafeGetTensorImpl();
  inside->set_storage_keep_dtype(std::move(storage));
  inside->set_storage_offset(offset);
  inside->set_sizes_and_strides(
      sizes, strides.empty() && !sizes.empty() ? IntArrayRef(c10::contiguous_strides(sizes)) : strides);
  return self;
}

// Copies

// Which values cross: a device has the rest in its own time.
bool carried(const Tensor& tensor) {
  return !at::isFloatingType(tensor.scalar_type()) && tensor.numel() <= kMostValues;
}

void refuse_unknown(const Tensor& tensor) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      known(tensor) || tensor.numel() == 0,
      "the host reads a tensor ", tensor.sizes(), " of ", tensor.scalar_type(),
      " from the null device, which has never worked out its values: it computes small tensors of whole numbers only. "
      "Run this on the emulated NPU, or read something else.");
}

Tensor& copy(Tensor& self, const Tensor& source, bool non_blocking) {
  const bool to_device = on_device(self);
  const bool from_device = on_device(source);
  if (to_device && from_device) {
    launched();
    const bool values = carried(source) && known(source);
    if (values) {
      on_host(self).copy_(on_host(source));
    }
    set_known(self, values && (known(self) || self.numel() * self.itemsize() == self.storage().nbytes()));
  } else if (to_device) {
    // From ordinary memory the real copy waits, whatever it is asked for.
    if (!(non_blocking && source.is_pinned())) {
      waited();
    }
    if (carried(source)) {
      on_host(self).copy_(source);
    }
    set_known(self, carried(source));
  } else {
    refuse_unknown(source);
    if (!(non_blocking && self.is_pinned())) {
      waited();
    }
    self.copy_(on_host(source));
  }
  return self;
}

Tensor copy_from(const Tensor& source, const Tensor& target, bool non_blocking) {
  Tensor to = target;
  return null_device::copy(to, source, non_blocking);
}

Tensor copy_from_and_resize(const Tensor& source, const Tensor& target) {
  Tensor to = target;
  if (on_device(to)) {
    become(to, source.sizes(), c10::contiguous_strides(source.sizes()));
  } else {
    to.resize_(source.sizes());
  }
  return null_device::copy(to, source, false);
}

Scalar local_scalar(const Tensor& self) {
  refuse_unknown(self);
  waited();
  return at::_local_scalar_dense(on_host(self));
}

Tensor clone(const Tensor& self, std::optional<at::MemoryFormat> format) {
  const bool kept = format.value_or(at::MemoryFormat::Preserve) == at::MemoryFormat::Preserve &&
      self.is_non_overlapping_and_dense();
  Tensor result = kept ? empty_strided(self.sizes(), self.strides(), self.scalar_type()) : like(self);
  return null_device::copy(result, self, false);
}

// Filling

Tensor& fill(Tensor& self, const Scalar& value) {
  launched();
  const bool values = !at::isFloatingType(self.scalar_type()) && self.numel() <= kMostValues;
  if (values) {
    on_host(self).fill_(value);
  }
  set_known(self, values && (known(self) || self.numel() * self.itemsize() == self.storage().nbytes()));
  return self;
}

Tensor& fill_tensor(Tensor& self, const Tensor& value) {
  return null_device::fill(self, on_device(value) ? local_scalar(value) : value.item());
}

Tensor& zero(Tensor& self) { return null_device::fill(self, 0); }

// Arithmetic. Results are dense, as a real op allocates them by sizes.

Tensor together(const Tensor& self, const Tensor& other, std::optional<ScalarType> type = std::nullopt) {
  const auto found = type ? *type
      : self.scalar_type() == other.scalar_type() && self.dim() && other.dim() ? self.scalar_type()
                                                                               : at::result_type(self, other);
  if (self.sizes() == other.sizes()) {
    return empty(self.sizes(), found);
  }
  return empty(at::infer_size_dimvector(self.sizes(), other.sizes()), found);
}

bool both_computed(const Tensor& self, const Tensor& other) { return computed(self) && computed(other); }

bool writes_all(const Tensor& self) { return self.numel() * self.itemsize() == self.storage().nbytes(); }

// One family of binary operators: the functional, the in-place and the out= form.
#define BINARY(name, type, parameters, ...)                                                   \
  Tensor name(const Tensor& self, const Tensor& other parameters) {                           \
    launched();                                                                               \
    if (both_computed(self, other)) {                                                         \
      return from_host(at::name(on_host(self), on_host(other) __VA_ARGS__));                  \
    }                                                                                         \
    return together(self, other, type);                                                       \
  }                                                                                           \
  Tensor& name##_in_place(Tensor& self, const Tensor& other parameters) {                     \
    launched();                                                                               \
    const bool values = both_computed(self, other);                                           \
    if (values) {                                                                             \
      on_host(self).copy_(at::name(on_host(self), on_host(other) __VA_ARGS__));               \
    }                                                                                         \
    set_known(self, values);                                                                  \
    return self;                                                                              \
  }                                                                                           \
  Tensor& name##_out(const Tensor& self, const Tensor& other parameters, Tensor& out) {       \
    launched();                                                                               \
    const auto sizes = at::infer_size_dimvector(self.sizes(), other.sizes());                 \
    if (out.sizes() != IntArrayRef(sizes)) {                                                  \
      become(out, sizes, c10::contiguous_strides(sizes));                                     \
    }                                                                                         \
    const bool values = both_computed(self, other);                                           \
    if (values) {                                                                             \
      on_host(out).copy_(at::name(on_host(self), on_host(other) __VA_ARGS__));                \
    }                                                                                         \
    set_known(out, values && writes_all(out));                                                \
    return out;                                                                               \
  }

#define COMMA ,
#define ALPHA COMMA const Scalar& alpha
#define NOTHING
BINARY(add, std::nullopt, ALPHA, , alpha)
BINARY(sub, std::nullopt, ALPHA, , alpha)
BINARY(mul, std::nullopt, NOTHING)
BINARY(eq, ScalarType::Bool, NOTHING)
BINARY(ne, ScalarType::Bool, NOTHING)
BINARY(lt, ScalarType::Bool, NOTHING)
BINARY(le, ScalarType::Bool, NOTHING)
BINARY(gt, ScalarType::Bool, NOTHING)
BINARY(ge, ScalarType::Bool, NOTHING)
#undef BINARY

Tensor div(const Tensor& self, const Tensor& other) {
  launched();
  const auto type = at::result_type(self, other);
  return together(self, other, at::isFloatingType(type) ? type : ScalarType::Float);
}

Tensor& div_in_place(Tensor& self, const Tensor&) {
  launched();
  set_known(self, false);
  return self;
}

// One argument, a result like it.
Tensor unary(const Tensor& self) {
  launched();
  return at::isFloatingType(self.scalar_type()) ? like(self) : empty(self.sizes(), ScalarType::Float);
}

Tensor& unary_in_place(Tensor& self) {
  launched();
  set_known(self, false);
  return self;
}

Tensor gelu(const Tensor& self, c10::string_view) { return unary(self); }

Tensor pow_scalar(const Tensor& self, const Scalar&) { return unary(self); }

Tensor softmax(const Tensor& self, int64_t, bool to_float) {
  launched();
  return empty(self.sizes(), to_float ? ScalarType::Float : self.scalar_type());
}

// Matrices

Tensor mm(const Tensor& self, const Tensor& other) {
  TORCH_CHECK(self.dim() == 2 && other.dim() == 2, "mm takes two matrices");
  TORCH_CHECK(self.size(1) == other.size(0), "mm of ", self.sizes(), " and ", other.sizes());
  launched();
  return empty({self.size(0), other.size(1)}, self.scalar_type());
}

Tensor& mm_out(const Tensor& self, const Tensor& other, Tensor& out) {
  launched();
  const std::vector<int64_t> sizes{self.size(0), other.size(1)};
  if (out.sizes() != IntArrayRef(sizes)) {
    become(out, sizes, c10::contiguous_strides(sizes));
  }
  set_known(out, false);
  return out;
}

Tensor addmm(const Tensor&, const Tensor& one, const Tensor& other, const Scalar&, const Scalar&) {
  return null_device::mm(one, other);
}

Tensor& addmm_out(
    const Tensor&, const Tensor& one, const Tensor& other, const Scalar&, const Scalar&, Tensor& out) {
  return null_device::mm_out(one, other, out);
}

// Nothing is ever given back before a stream is done with it.
void record_stream(Tensor&, c10::Stream) {}

Tensor bmm(const Tensor& self, const Tensor& other) {
  TORCH_CHECK(self.dim() == 3 && other.dim() == 3, "bmm takes two batches of matrices");
  launched();
  return empty({self.size(0), self.size(1), other.size(2)}, self.scalar_type());
}

Tensor& bmm_out(const Tensor& self, const Tensor& other, Tensor& out) {
  launched();
  const std::vector<int64_t> sizes{self.size(0), self.size(1), other.size(2)};
  if (out.sizes() != IntArrayRef(sizes)) {
    become(out, sizes, c10::contiguous_strides(sizes));
  }
  set_known(out, false);
  return out;
}

std::tuple<Tensor, Tensor, Tensor> layer_norm(
    const Tensor& self,
    IntArrayRef shape,
    const std::optional<Tensor>&,
    const std::optional<Tensor>&,
    double) {
  launched();
  at::DimVector statistics(self.sizes());
  for (size_t back = 1; back <= shape.size(); ++back) {
    statistics[statistics.size() - back] = 1;
  }
  return {like(self), empty(statistics, ScalarType::Float), empty(statistics, ScalarType::Float)};
}

Tensor convolution(
    const Tensor& input,
    const Tensor& weight,
    const std::optional<Tensor>&,
    at::SymIntArrayRef stride,
    at::SymIntArrayRef padding,
    at::SymIntArrayRef dilation,
    bool transposed,
    at::SymIntArrayRef,
    c10::SymInt) {
  TORCH_CHECK(!transposed, "the null device has no transposed convolution");
  launched();
  at::DimVector sizes{input.size(0), weight.size(0)};
  for (int64_t axis = 2; axis < input.dim(); ++axis) {
    const auto at = axis - 2;
    const auto width = dilation[at].expect_int() * (weight.size(axis) - 1) + 1;
    sizes.push_back(
        (input.size(axis) + 2 * padding[at].expect_int() - width) / stride[at].expect_int() + 1);
  }
  return empty(sizes, input.scalar_type());
}

// Arranging

Tensor cat(const at::ITensorListRef& tensors, int64_t dimension) {
  launched();
  bool values = true;
  const Tensor* first = nullptr;
  at::DimVector sizes;
  int64_t axis = 0;
  ScalarType type = ScalarType::Undefined;
  for (const Tensor& each : tensors) {
    values = values && computed(each);
    type = first == nullptr ? each.scalar_type() : at::promote_types(type, each.scalar_type());
    if (each.dim() == 1 && each.size(0) == 0 && first != nullptr) {
      continue;
    }
    if (first == nullptr || (first->dim() == 1 && first->size(0) == 0)) {
      first = &each;
      sizes = at::DimVector(each.sizes());
      axis = at::maybe_wrap_dim(dimension, each.dim());
    } else {
      sizes[axis] += each.size(axis);
    }
  }
  if (values) {
    std::vector<Tensor> hosts;
    for (const Tensor& each : tensors) {
      hosts.push_back(on_host(each));
    }
    return from_host(at::cat(hosts, dimension));
  }
  return empty(sizes, type);
}

Tensor constant_pad(const Tensor& self, IntArrayRef pads, const Scalar& value) {
  launched();
  if (computed(self)) {
    return from_host(at::constant_pad_nd(on_host(self), pads, value));
  }
  at::DimVector sizes(self.sizes());
  for (size_t at = 0; 2 * at < pads.size(); ++at) {
    sizes[sizes.size() - 1 - at] += pads[2 * at] + pads[2 * at + 1];
  }
  return empty(sizes, self.scalar_type());
}

Tensor index_select(const Tensor& self, int64_t dimension, const Tensor& index) {
  launched();
  if (computed(self) && computed(index)) {
    return from_host(at::index_select(on_host(self), dimension, on_host(index)));
  }
  at::DimVector sizes(self.sizes());
  sizes[at::maybe_wrap_dim(dimension, self.dim())] = index.numel();
  return empty(sizes, self.scalar_type());
}

Tensor embedding(const Tensor& weight, const Tensor& index, int64_t, bool, bool) {
  launched();
  at::DimVector sizes(index.sizes());
  sizes.push_back(weight.size(1));
  return empty(sizes, weight.scalar_type());
}

bool is_mask(const Tensor& index) {
  return index.scalar_type() == ScalarType::Bool || index.scalar_type() == ScalarType::Byte;
}

Tensor index(const Tensor& self, const c10::List<std::optional<Tensor>>& indices) {
  bool values = computed(self);
  bool masked = false;
  at::DimVector places;
  at::DimVector sizes;
  int64_t axis = 0;
  for (const std::optional<Tensor>& each : indices) {
    int64_t axes = 1;
    if (each && each->defined()) {
      values = values && computed(*each);
      at::DimVector found(each->sizes());
      if (is_mask(*each)) {
        // How many there are only the values of the mask tell.
        refuse_unknown(*each);
        masked = true;
        axes = each->dim();
        found = {at::count_nonzero(on_host(*each)).item<int64_t>()};
      }
      sizes = places.empty() ? found : at::infer_size_dimvector(sizes, found);
      for (int64_t more = 0; more < axes; ++more) {
        places.push_back(axis + more);
      }
    }
    axis += axes;
  }
  if (masked) {
    waited();
  }
  launched();
  if (values) {
    c10::List<std::optional<Tensor>> hosts;
    for (const std::optional<Tensor>& each : indices) {
      hosts.push_back(each && each->defined() ? std::optional<Tensor>(on_host(*each)) : each);
    }
    return from_host(at::index(on_host(self), hosts));
  }
  const bool together = places.back() - places.front() + 1 == int64_t(places.size());
  at::DimVector result;
  if (!together) {
    result.append(sizes.begin(), sizes.end());
  }
  for (int64_t at = 0, next = 0; at < self.dim(); ++at) {
    if (next < int64_t(places.size()) && places[next] == at) {
      if (next == 0 && together) {
        result.append(sizes.begin(), sizes.end());
      }
      ++next;
    } else {
      result.push_back(self.size(at));
    }
  }
  return empty(result, self.scalar_type());
}

// Sums and means over some dimensions.
Tensor reduced(const Tensor& self, at::OptionalIntArrayRef dimensions, bool keep, std::optional<ScalarType> type) {
  launched();
  const bool all = !dimensions.has_value() || dimensions->empty();
  at::DimVector sizes;
  std::vector<bool> gone(self.dim(), all);
  if (!all) {
    for (const auto dimension : *dimensions) {
      gone[at::maybe_wrap_dim(dimension, self.dim())] = true;
    }
  }
  for (int64_t axis = 0; axis < self.dim(); ++axis) {
    if (!gone[axis]) {
      sizes.push_back(self.size(axis));
    } else if (keep) {
      sizes.push_back(1);
    }
  }
  const bool whole = at::isIntegralType(self.scalar_type(), /*includeBool=*/true);
  return empty(sizes, type.value_or(whole ? ScalarType::Long : self.scalar_type()));
}

Tensor sum(const Tensor& self, at::OptionalIntArrayRef dimensions, bool keep, std::optional<ScalarType> type) {
  if (computed(self)) {
    launched();
    return from_host(at::sum(on_host(self), dimensions, keep, type));
  }
  return reduced(self, dimensions, keep, type);
}

Tensor clamp(const Tensor& self, const std::optional<Scalar>& least, const std::optional<Scalar>& most) {
  launched();
  return computed(self) ? from_host(at::clamp(on_host(self), least, most)) : like(self);
}

Tensor upsample_bicubic(
    const Tensor& self, at::SymIntArrayRef size, bool, std::optional<double>, std::optional<double>) {
  launched();
  return empty({self.size(0), self.size(1), size[0].expect_int(), size[1].expect_int()}, self.scalar_type());
}

Tensor grid_sampler(const Tensor& self, const Tensor& grid, int64_t, int64_t, bool) {
  launched();
  return empty({self.size(0), self.size(1), grid.size(1), grid.size(2)}, self.scalar_type());
}

Tensor view_as_real(const Tensor& self) {
  ++counts.views;
  return at::native::view_as_real(self);
}

Tensor view_as_complex(const Tensor& self) {
  ++counts.views;
  return at::native::view_as_complex(self);
}

Tensor repeat(const Tensor& self, IntArrayRef times) {
  launched();
  if (computed(self)) {
    return from_host(on_host(self).repeat(times));
  }
  at::DimVector sizes(times);
  const auto more = times.size() - self.dim();
  for (int64_t axis = 0; axis < self.dim(); ++axis) {
    sizes[more + axis] *= self.size(axis);
  }
  return empty(sizes, self.scalar_type());
}

// All other operators: small whole numbers are computed with the CPU's kernel, for the rest torch's Meta kernel says
// what the result looks like.

// An out= argument.
bool only_written(const c10::Argument& argument) {
  return argument.kwarg_only() && argument.alias_info() && argument.alias_info()->isWrite();
}

bool only_whole_numbers(const Stack& stack, size_t begin, const c10::FunctionSchema& schema) {
  bool all = true;
  const auto look = [&](const Tensor& tensor) { all = all && (!tensor.defined() || computed(tensor)); };
  for (size_t at = begin; at < stack.size(); ++at) {
    if (only_written(schema.arguments()[at - begin])) {
      continue;
    }
    const auto& value = stack[at];
    if (value.isTensor()) {
      look(value.toTensor());
    } else if (value.isTensorList()) {
      for (const Tensor& each : value.toTensorVector()) {
        look(each);
      }
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<Tensor>& each : value.toOptionalTensorVector()) {
        if (each) {
          look(*each);
        }
      }
    }
  }
  return all;
}

template <typename Function>
IValue mapped(const IValue& value, Function&& function) {
  if (value.isTensor()) {
    return value.toTensor().defined() ? IValue(function(value.toTensor())) : value;
  }
  if (value.isTensorList()) {
    std::vector<Tensor> found;
    for (const Tensor& each : value.toTensorVector()) {
      found.push_back(function(each));
    }
    return found;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> found;
    for (const std::optional<Tensor>& each : value.toOptionalTensorVector()) {
      found.push_back(each && each->defined() ? std::optional<Tensor>(function(*each)) : each);
    }
    return found;
  }
  return value;
}

Tensor meta(const Tensor& tensor) {
  return at::empty_strided(
      tensor.sizes(), tensor.strides(), tensor.options().device(c10::DeviceType::Meta).pinned_memory(false));
}

void generic(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size();
  const size_t begin = stack->size() - count;
  const std::vector<IValue> given(stack->begin() + begin, stack->end());
  const bool values = only_whole_numbers(given, 0, schema);
  const auto place = values ? c10::DeviceType::CPU : c10::DeviceType::Meta;
  std::vector<IValue> taken;
  for (size_t at = 0; at < count; ++at) {
    const bool out = only_written(schema.arguments()[at]);
    const auto there = [&](const Tensor& each) {
      // Memory that is lent cannot grow, and a result may have to.
      return !values ? meta(each) : out ? at::empty(each.sizes(), each.options().device(place)) : on_host(each);
    };
    taken.push_back(given[at].isDevice() ? IValue(c10::Device(place)) : mapped(given[at], there));
    (*stack)[begin + at] = taken.back();
  }
  op.callBoxed(stack);
  launched();
  if (!values) {
    ++counts.generic;
    ++without_rule[schema.overload_name().empty() ? schema.name() : schema.name() + "." + schema.overload_name()];
  }
  // What was written to may have another size now.
  for (size_t at = 0; at < count; ++at) {
    const auto& argument = schema.arguments()[at];
    if (given[at].isTensor() && argument.alias_info() && argument.alias_info()->isWrite()) {
      const auto& own = given[at].toTensor();
      const auto& found = taken[at].toTensor();
      if (own.sizes() != found.sizes()) {
        become(own, found.sizes(), found.strides());
      }
      if (values && only_written(argument)) {
        on_host(own).copy_(found);
      }
      set_known(own, values);
    }
  }
  const auto back = [&](const Tensor& found) -> Tensor {
    for (size_t at = 0; at < count; ++at) {
      if (taken[at].isTensor() && taken[at].toTensor().is_same(found)) {
        return given[at].toTensor();
      }
    }
    return values ? from_host(found) : empty_strided(found.sizes(), found.strides(), found.scalar_type());
  };
  const size_t results = schema.returns().size();
  for (size_t at = stack->size() - results; at < stack->size(); ++at) {
    (*stack)[at] = mapped((*stack)[at], back);
  }
}

// Operators whose result has a size that only the values tell; a real device's host waits for it.
void by_value(const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  const size_t count = op.schema().arguments().size();
  for (const auto& value : at::ArrayRef<IValue>(*stack).slice(stack->size() - count)) {
    if (value.isTensor()) {
      refuse_unknown(value.toTensor());
    }
  }
  waited();
  generic(op, keys, stack);
}

const std::unordered_set<std::string> kByValue{
    "nonzero", "masked_select", "equal", "_unique", "_unique2", "unique_dim", "unique_consecutive",
    "unique_dim_consecutive", "bincount", "repeat_interleave.Tensor"};

const std::unordered_set<std::string> kMadeOfOthers{
    "t_", "transpose_", "squeeze_", "squeeze_.dim", "squeeze_.dims", "unsqueeze_", "as_strided_", "detach_",
    "resize_as_", "_resize_output", "set_", "set_.source_Tensor", "set_.source_Storage", "copy", "_foreach_copy_",
    "detach", "allclose", "lift", "lift_fresh", "empty_like", "new_empty", "new_empty_strided", "empty_permuted",
    "_to_copy", "_unsafe_view", "_reshape_copy", "is_same_size", "_local_scalar_dense", "is_pinned", "_pin_memory",
    "zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "arange",
    "arange.start", "linspace", "stack", "split", "unbind.int", "eye", "rand", "randn", "randint", "to_padded_tensor"};

}  // namespace

// What a device must have itself.
TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty_memory_format);
  library.impl("empty_strided", &empty_with_strides);
  library.impl("as_strided", &as_strided);
  library.impl("view", &view);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("unfold", &unfold);
  library.impl("resize_", &resize);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("copy_", &copy);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("_local_scalar_dense", &local_scalar);
  library.impl("clone", &clone);
  library.impl("fill_.Scalar", &fill);
  library.impl("fill_.Tensor", &fill_tensor);
  library.impl("zero_", &zero);
  library.impl("add.Tensor", &add);
  library.impl("add_.Tensor", &add_in_place);
  library.impl("add.out", &add_out);
  library.impl("sub.Tensor", &sub);
  library.impl("sub_.Tensor", &sub_in_place);
  library.impl("sub.out", &sub_out);
  library.impl("mul.Tensor", &mul);
  library.impl("mul_.Tensor", &mul_in_place);
  library.impl("mul.out", &mul_out);
  library.impl("eq.Tensor", &eq);
  library.impl("ne.Tensor", &ne);
  library.impl("lt.Tensor", &lt);
  library.impl("le.Tensor", &le);
  library.impl("gt.Tensor", &gt);
  library.impl("ge.Tensor", &ge);
  library.impl("div.Tensor", &div);
  library.impl("div_.Tensor", &div_in_place);
  for (const char* name : {"sin", "cos", "exp", "rsqrt", "sqrt", "silu", "sigmoid", "tanh", "reciprocal"}) {
    library.impl(name, &unary);
  }
  for (const char* name : {"silu_", "relu_", "sigmoid_"}) {
    library.impl(name, &unary_in_place);
  }
  library.impl("gelu", &gelu);
  library.impl("pow.Tensor_Scalar", &pow_scalar);
  library.impl("_softmax", &softmax);
  library.impl("mm", &mm);
  library.impl("mm.out", &mm_out);
  library.impl("addmm", &addmm);
  library.impl("addmm.out", &addmm_out);
  library.impl("record_stream", &record_stream);
  library.impl("bmm", &bmm);
  library.impl("bmm.out", &bmm_out);
  library.impl("native_layer_norm", &layer_norm);
  library.impl("convolution_overrideable", &convolution);
  library.impl("cat", &cat);
  library.impl("constant_pad_nd", &constant_pad);
  library.impl("index_select", &index_select);
  library.impl("embedding", &embedding);
  library.impl("repeat", &repeat);
  library.impl("index.Tensor", &index);
  library.impl("sum.dim_IntList", &sum);
  library.impl("mean.dim", &reduced);
  library.impl("clamp", &clamp);
  library.impl("upsample_bicubic2d", &upsample_bicubic);
  library.impl("grid_sampler_2d", &grid_sampler);
  library.impl("view_as_real", &view_as_real);
  library.impl("view_as_complex", &view_as_complex);
  // The others by what torch has for a CPU: an operator with a kernel of its own there is one kernel here.
  std::unordered_set<std::string> own;
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) {
      continue;
    }
    const auto op = dispatcher.findSchema(name);
    if (!op || op->hasKernelForDispatchKey(DispatchKey::PrivateUse1)) {
      continue;
    }
    const std::string shorter = (name.overload_name.empty() ? name.name : name.name + "." + name.overload_name).substr(6);
    if (kMadeOfOthers.count(shorter)) {
      continue;
    }
    if (kByValue.count(shorter)) {
      library.impl(shorter.c_str(), torch::CppFunction::makeFromBoxedFunction<&by_value>());
    } else if (op->hasKernelForDispatchKey(DispatchKey::CPU)) {
      bool view = false;
      for (const auto& result : op->schema().returns()) {
        view = view || (result.alias_info() && !result.alias_info()->isWrite());
      }
      if (!view) {
        library.impl(shorter.c_str(), torch::CppFunction::makeFromBoxedFunction<&generic>());
      }
    }
  }
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&generic>());
}

}  // namespace null_device
