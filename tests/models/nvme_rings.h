#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>

#include "core/spec/nvme_spec.h"

namespace pollux::models {

// The rings as the device sees them. Base §3.3.1.
struct SubmissionRing {
  bool live = false;
  uint16_t cqid = 0;
  uint32_t entries = 0;
  uint64_t base = 0;
  uint32_t head = 0;
  uint8_t priority = 0;
  bool complained = false;            // Of the present doorbell value.
  const std::byte* memory = nullptr;  // Of `base`; null: to be looked up.
};

struct CompletionRing {
  bool live = false;
  uint32_t entries = 0;
  uint64_t base = 0;
  uint32_t head = 0;  // The host's, by the last doorbell.
  uint32_t tail = 0;
  bool phase = true;
  bool interrupts = false;
  uint16_t vector = 0;
  bool complained = false;
  bool raise = false;  // Something was posted since the last interrupt.
  std::byte* memory = nullptr;
  std::deque<nvme::CompletionEntry> waiting;  // For room.

  bool full() const { return (tail + 1) % entries == head; }
};

}  // namespace pollux::models
