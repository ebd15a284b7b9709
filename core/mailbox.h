#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/check.h"
#include "core/intrusive_list.h"

namespace pollux {

class Loop;

// Something to be run by another loop. Embed it in the object that sends it; it is handed over by
// pointer, so nothing is allocated or copied. It lives until it has run.
class Message {
 public:
  // Runs once per post, on the receiving loop. The message may be posted again from within, and
  // not before.
  virtual void Run() = 0;

 protected:
  ~Message() = default;

 private:
  friend class Loop;
  // While the receiver's mailbox is full: a place among those that wait at the sender.
  ListNode outbox_node_;
  Loop* receiver_ = nullptr;
};

// A bounded ring that any thread may push to and one thread takes from, without locks. Each cell
// carries a sequence number: equal to the position when it is free to write, one more when it is
// free to read. (Dmitry Vyukov's bounded queue, with a single consumer.)
class Mailbox {
 public:
  // `capacity` is a power of two.
  explicit Mailbox(size_t capacity)
      : mask_(capacity - 1), cells_(std::make_unique<Cell[]>(capacity)) {
    CHECK(capacity >= 2 && (capacity & mask_) == 0);
    for (size_t i = 0; i < capacity; ++i) cells_[i].sequence.store(i, std::memory_order_relaxed);
  }

  // False, and nothing changes, when the ring is full.
  [[nodiscard]] bool TryPush(Message* message) {
    size_t position = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[position & mask_];
      const size_t sequence = cell.sequence.load(std::memory_order_acquire);
      const auto ahead = static_cast<intptr_t>(sequence - position);
      if (ahead < 0) return false;
      if (ahead > 0) {
        position = tail_.load(std::memory_order_relaxed);
        continue;
      }
      if (tail_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed)) {
        cell.message = message;
        cell.sequence.store(position + 1, std::memory_order_release);
        return true;
      }
    }
  }

  // The oldest message, or null. Consumer only.
  Message* TryPop() {
    Cell& cell = cells_[head_ & mask_];
    if (cell.sequence.load(std::memory_order_acquire) != head_ + 1) return nullptr;
    Message* message = cell.message;
    cell.sequence.store(head_ + mask_ + 1, std::memory_order_release);
    ++head_;
    return message;
  }

  // Consumer only.
  bool empty() const {
    return cells_[head_ & mask_].sequence.load(std::memory_order_acquire) != head_ + 1;
  }

 private:
  struct Cell {
    std::atomic<size_t> sequence;
    Message* message = nullptr;
  };

  const size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<size_t> tail_{0};  // Producers.
  alignas(64) size_t head_ = 0;              // The consumer.
};

}  // namespace pollux
