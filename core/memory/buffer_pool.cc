#include "core/memory/buffer_pool.h"

#include "core/check.h"

namespace pollux {

BufferPool::BufferPool(std::byte* memory, size_t buffer_bytes, size_t count)
    : memory_(memory), buffer_bytes_(buffer_bytes), count_(count) {
  CHECK(buffer_bytes > 0 && (memory != nullptr || count == 0));
  free_.reserve(count);
  // The first buffer is on top. None is touched: memory nobody used yet is not resident.
  for (size_t i = count; i > 0; --i) free_.push_back(memory + (i - 1) * buffer_bytes);
}

BufferPool::~BufferPool() {
  CHECK(waiting_.empty(), "a pool died while somebody waits for a buffer");
  CHECK(free_.size() == count_, "a pool died before all its buffers came back");
}

std::byte* BufferPool::TryTake() {
  if (free_.empty() || !waiting_.empty()) {
    ++times_empty_;
    return nullptr;
  }
  std::byte* buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void BufferPool::Wait(Waiter& waiter) {
  CHECK(free_.empty(), "waiting for a buffer while there are some");
  waiting_.PushBack(waiter);
}

void BufferPool::CancelWait(Waiter& waiter) {
  if (waiter.waiting()) waiting_.Remove(waiter);
}

void BufferPool::Give(std::byte* buffer) {
  const auto offset = static_cast<size_t>(buffer - memory_);
  CHECK(buffer >= memory_ && offset < count_ * buffer_bytes_ && offset % buffer_bytes_ == 0,
        "not a buffer of this pool");
  if (Waiter* first = waiting_.PopFront()) return first->OnBuffer(buffer);
  CHECK(free_.size() < count_, "a buffer came back twice");
  free_.push_back(buffer);
}

}  // namespace pollux
