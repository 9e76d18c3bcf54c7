// The null device's memory, streams and clock, and its registration with torch.
#include "device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <time.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_set>
#include <vector>

namespace null_device {

thread_local Counts counts;
thread_local int64_t queued = 0;
thread_local std::map<std::string, int64_t> without_rule;

namespace {

constexpr auto kDevice = c10::DeviceType::PrivateUse1;

std::atomic<int64_t> launch_ns{0};
std::atomic<int64_t> wait_ns{0};

int64_t thread_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void spend(int64_t ns) {
  if (ns <= 0) {
    return;
  }
  const int64_t until = thread_ns() + ns;
  while (thread_ns() < until) {
  }
}

// Memory: blocks by powers of two, kept for the next tensor as a real caching allocator keeps them. Nothing writes to
// most of them, so the system never gives them pages.
class Memory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) {
      return {nullptr, nullptr, &Memory::release, c10::Device(kDevice, 0)};
    }
    const size_t size_class = class_of(bytes);
    Block* block = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto& kept = free_[size_class];
      if (!kept.empty()) {
        block = kept.back();
        kept.pop_back();
      }
    }
    if (block == nullptr) {
      void* memory = std::malloc(size_t(1) << size_class);
      TORCH_CHECK(memory != nullptr, "the null device cannot allocate ", bytes, " bytes of the host's memory");
      block = new Block{memory, size_class, false};
    }
    block->known = false;
    return {block->memory, block, &Memory::release, c10::Device(kDevice, 0)};
  }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

 private:
  static size_t class_of(size_t bytes) {
    size_t size_class = 9;
    while ((size_t(1) << size_class) < bytes) {
      ++size_class;
    }
    return size_class;
  }

  static void release(void* context);

  std::mutex mutex_;
  std::array<std::vector<Block*>, 48> free_;
};

// Never destroyed: tensors of modules may outlive static objects.
Memory& memory() {
  static Memory* it = new Memory();
  return *it;
}

void Memory::release(void* context) {
  if (context != nullptr) {
    auto* block = static_cast<Block*>(context);
    std::lock_guard<std::mutex> lock(memory().mutex_);
    memory().free_[block->size_class].push_back(block);
  }
}

// Pinned host memory: ordinary memory whose addresses are remembered.
class Pinned final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = std::malloc(bytes ? bytes : 1);
    std::lock_guard<std::mutex> lock(mutex_);
    begins_.insert(memory);
    return {memory, memory, &Pinned::release, c10::Device(c10::DeviceType::CPU)};
  }

  bool holds(const void* begin) {
    std::lock_guard<std::mutex> lock(mutex_);
    return begins_.count(begin) != 0;
  }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

 private:
  static void release(void* memory);

  std::mutex mutex_;
  std::unordered_set<const void*> begins_;
};

Pinned& pinned() {
  static Pinned* it = new Pinned();
  return *it;
}

void Pinned::release(void* memory) {
  {
    std::lock_guard<std::mutex> lock(pinned().mutex_);
    pinned().begins_.erase(memory);
  }
  std::free(memory);
}

thread_local c10::StreamId stream_id = 0;
std::atomic<c10::StreamId> last_stream{0};
std::atomic<int64_t> last_event{0};

c10::Stream stream_of(c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(kDevice, 0), id);
}

struct Guard final : public c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDevice; }
  c10::Device exchangeDevice(c10::Device) const override { return {kDevice, 0}; }
  c10::Device getDevice() const override { return {kDevice, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(c10::Device) const override { return stream_of(stream_id); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream_of(0); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return new_stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return new_stream(); }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const auto before = stream_id;
    stream_id = stream.id();
    return stream_of(before);
  }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (*event == nullptr) {
      *event = reinterpret_cast<void*>(++last_event);
    }
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { waited(); }
  void synchronizeEvent(void*) const override { waited(); }
  void synchronizeDevice(const c10::DeviceIndex) const override { waited(); }
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
  double elapsedTime(void*, void*, const c10::DeviceIndex) const override { return 0.0; }
};

struct Hooks final : public at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  at::Device getDeviceFromPtr(void*) const override { return {kDevice, 0}; }
  bool isPinnedPtr(const void* data) const override { return pinned().holds(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned(); }
};

bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  c10::SetAllocator(kDevice, &memory());
  return true;
}();

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

}  // namespace

void launched() {
  ++counts.kernels;
  ++queued;
  spend(launch_ns.load(std::memory_order_relaxed));
}

void waited() {
  ++counts.waits;
  counts.stalls += queued > 0;
  queued = 0;
  spend(wait_ns.load(std::memory_order_relaxed));
}

c10::Allocator* allocator() { return &memory(); }
c10::Stream current_stream() { return stream_of(stream_id); }
c10::Stream new_stream() { return stream_of(++last_stream); }

bool known(const at::Tensor& tensor) {
  if (!on_device(tensor)) {
    return true;
  }
  const auto* block = block_of(tensor);
  return block == nullptr || block->known;
}

void set_known(const at::Tensor& tensor, bool value) {
  if (auto* block = block_of(tensor)) {
    block->known = value;
  }
}

at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type) {
  return at::Tensor(at::detail::empty_generic(
      sizes, &memory(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type, std::nullopt));
}

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type) {
  return at::Tensor(at::detail::empty_strided_generic(
      sizes, strides, &memory(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type));
}

at::Tensor on_host(const at::Tensor& tensor) {
  if (!on_device(tensor)) {
    return tensor;
  }
  const auto& storage = tensor.storage();
  c10::Storage lent(
      c10::Storage::use_byte_size_t(),
      storage.nbytes(),
      c10::DataPtr(storage.data_ptr().get(), c10::Device(c10::DeviceType::CPU)));
  auto host = at::detail::make_tensor<c10::TensorImpl>(
      std::move(lent), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
  host.unsafeGetTensorImpl()->set_storage_offset(tensor.storage_offset());
  host.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return host;
}

at::Tensor from_host(const at::Tensor& tensor) {
  auto result = empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type());
  if (tensor.numel()) {
    on_host(result).copy_(tensor);
  }
  set_known(result, true);
  return result;
}

void become(const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides) {
  auto* inside = tensor.unsafeGetTensorImpl();
  inside->set_sizes_and_strides(sizes, strides);
  const size_t wanted = at::detail::computeStorageNbytes(
      sizes, strides, tensor.dtype().itemsize(), tensor.storage_offset());
  if (tensor.storage().nbytes() < wanted) {
    auto* storage = tensor.storage().unsafeGetStorageImpl();
    auto grown = memory().allocate(wanted);
    if (storage->nbytes()) {
      std::memcpy(grown.get(), storage->data(), storage->nbytes());
    }
    storage->set_data_ptr_noswap(std::move(grown));
    storage->set_nbytes(wanted);
  }
}

at::Tensor dense(const at::Tensor& tensor) {
  if (tensor.is_contiguous()) {
    return tensor;
  }
  ++counts.hidden;
  launched();
  return like(tensor);
}

// For Python, as operators: these need no more than the dispatcher.

void set_costs(int64_t launch, int64_t wait) {
  launch_ns = launch;
  wait_ns = wait;
}

std::vector<int64_t> read_counts() {
  return {counts.kernels, counts.hidden, counts.views, counts.waits, counts.stalls, counts.generic};
}

void begin() {
  counts = Counts();
  without_rule.clear();
  queued = 0;
}

std::vector<std::string> names_without_rule() {
  std::vector<std::string> names;
  for (const auto& [name, times] : without_rule) {
    names.push_back(name + " " + std::to_string(times));
  }
  return names;
}

int64_t empty_kernel(int64_t count) {
  for (int64_t index = 0; index < count; ++index) {
    launched();
  }
  return count;
}

}  // namespace null_device

TORCH_LIBRARY(null_device, library) {
  library.def("set_costs(int launch_ns, int wait_ns) -> ()", &null_device::set_costs);
  library.def("counts() -> int[]", &null_device::read_counts);
  library.def("without_rule() -> str[]", &null_device::names_without_rule);
  library.def("begin() -> ()", &null_device::begin);
  library.def("launch(int count) -> int", &null_device::empty_kernel);
}
