#include "core/block/io_trace.h"

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace pollux {
namespace {

// The small fields, in one word.
uint64_t Pack(const TracedIo& io) {
  return io.device | static_cast<uint64_t>(io.type) << 32 | static_cast<uint64_t>(io.status) << 40 |
         static_cast<uint64_t>(io.source) << 48 | static_cast<uint64_t>(io.lent) << 56;
}

void Unpack(uint64_t word, TracedIo& io) {
  io.device = static_cast<uint32_t>(word);
  io.type = static_cast<IoType>(static_cast<uint8_t>(word >> 32));
  io.status = static_cast<IoStatus>(static_cast<uint8_t>(word >> 40));
  io.source = static_cast<IoSource>(static_cast<uint8_t>(word >> 48));
  io.lent = (word >> 56) != 0;
}

// The generation of a slot that holds the request of this number; one less while it is written.
constexpr uint64_t GenerationOf(uint64_t number) { return 2 * number + 2; }

}  // namespace

IoTrace::IoTrace(size_t capacity)
    : mask_(std::bit_ceil(capacity) - 1), slots_(std::make_unique<Slot[]>(mask_ + 1)) {
  CHECK(capacity >= 1 && capacity <= kCapacityMax);
}

void IoTrace::Add(const TracedIo& io) {
  const uint64_t number = next_number_.load(std::memory_order_relaxed);
  Slot& slot = slots_[number & mask_];
  slot.generation.store(GenerationOf(number) - 1, std::memory_order_relaxed);
  // Each word is released, and acquired by the reader: who has seen one of the new words sees the
  // odd generation too, or a later one. (On x86 these are plain stores and loads.)
  const uint64_t words[kWords] = {io.ended_ns, io.latency_ns, io.lba, io.blocks, Pack(io)};
  for (size_t i = 0; i < kWords; ++i) slot.words[i].store(words[i], std::memory_order_release);
  slot.generation.store(GenerationOf(number), std::memory_order_release);
  next_number_.store(number + 1, std::memory_order_release);
}

bool IoTrace::Read(uint64_t number, TracedIo& io) const {
  const Slot& slot = slots_[number & mask_];
  if (slot.generation.load(std::memory_order_acquire) != GenerationOf(number)) return false;
  uint64_t words[kWords];
  for (size_t i = 0; i < kWords; ++i) words[i] = slot.words[i].load(std::memory_order_acquire);
  if (slot.generation.load(std::memory_order_relaxed) != GenerationOf(number)) return false;
  io.number = number;
  io.ended_ns = words[0];
  io.latency_ns = words[1];
  io.lba = words[2];
  io.blocks = words[3];
  Unpack(words[4], io);
  return true;
}

std::vector<TracedIo> IoTrace::Last(size_t count) const {
  const uint64_t end = next_number_.load(std::memory_order_acquire);
  const uint64_t wanted = std::min<uint64_t>({count, end, capacity()});
  std::vector<TracedIo> result;
  result.reserve(static_cast<size_t>(wanted));
  for (uint64_t number = end - wanted; number < end; ++number) {
    TracedIo io;
    if (Read(number, io)) result.push_back(io);
  }
  return result;
}

}  // namespace pollux
