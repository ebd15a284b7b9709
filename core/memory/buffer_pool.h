#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/intrusive_list.h"

namespace pollux {

// Equal buffers of one reactor, all made at start. Who finds none waits in line and is served in
// order of arrival: a buffer that comes back goes to the first in line, never to a newcomer.
class BufferPool {
 public:
  // One that waits for a buffer. Embed it; it leaves the line before it dies.
  class Waiter {
   public:
    // Runs on the pool's reactor; the buffer is the waiter's from here on.
    virtual void OnBuffer(std::byte* buffer) = 0;
    bool waiting() const { return node_.linked(); }

   protected:
    ~Waiter() = default;

   private:
    friend class BufferPool;
    ListNode node_;
  };

  // `memory` holds count buffers of `buffer_bytes` and outlives the pool.
  BufferPool(std::byte* memory, size_t buffer_bytes, size_t count);
  ~BufferPool();  // CHECKs that every buffer came back.

  size_t buffer_bytes() const { return buffer_bytes_; }
  size_t count() const { return count_; }
  size_t available() const { return free_.size(); }
  uint64_t times_empty() const { return times_empty_; }

  // A buffer, or null when there is none or somebody waits already.
  std::byte* TryTake();
  // Stands in line. The buffer comes through OnBuffer, never from within this call.
  void Wait(Waiter& waiter);
  void CancelWait(Waiter& waiter);
  void Give(std::byte* buffer);

 private:
  std::byte* const memory_;
  const size_t buffer_bytes_;
  const size_t count_;
  std::vector<std::byte*> free_;  // A stack: what was used last is warm. Never grows past count.
  IntrusiveList<Waiter, &Waiter::node_> waiting_;
  uint64_t times_empty_ = 0;
};

}  // namespace pollux
