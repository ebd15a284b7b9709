#pragma once
#include <cstdint>
#include <memory>

#include "core/histogram.h"

namespace pollux::rpc {

// What became of the calls of one method, by whatever face they came. A call counts when it got as
// far as its handler's turn: not one whose parameters do not decode.
struct MethodStatistics {
  // A bucket is at most an eighth of its value wide.
  static constexpr unsigned kShift = 3;

  uint64_t calls = 0;     // That have ended.
  uint64_t failures = 0;  // Of them.
  uint64_t running = 0;   // That have not.
  uint64_t total_ns = 0;
  uint64_t max_ns = 0;
  std::unique_ptr<Histogram> latency;  // In ns. Null before the first has ended.

  void OnEnded(uint64_t ns, bool ok) {
    --running;
    ++calls;
    if (!ok) ++failures;
    total_ns += ns;
    if (ns > max_ns) max_ns = ns;
    if (latency == nullptr) latency = std::make_unique<Histogram>(kShift);
    latency->Add(ns);
  }
};

}  // namespace pollux::rpc
