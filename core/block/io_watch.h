#pragma once
#include <array>
#include <cstdint>

#include "core/block/io_request.h"
#include "core/block/io_trace.h"
#include "core/histogram.h"
#include "core/intrusive_list.h"

namespace pollux {

struct Loan;

// What is kept of one channel's I/O beyond its counters, when somebody asks for it: where the
// latencies fall, and the last requests. Touched by the channel's reactor; histogram and trace
// belong to others and are read by any thread.
class IoWatch {
 public:
  explicit IoWatch(uint32_t device_number) : device_number_(device_number) {}
  IoWatch(const IoWatch&) = delete;
  IoWatch& operator=(const IoWatch&) = delete;

  // Of the types whose bits are set. Null: none.
  void SetHistogram(Histogram* histogram, uint32_t types);
  void SetTrace(IoTrace* trace);
  bool on() const { return on_; }

  // A request that succeeded, or a loan: a histogram is of what the counters count.
  void AddLatency(IoType type, uint64_t latency_ns) {
    Histogram* const histogram = histograms_[static_cast<size_t>(type)];
    if (histogram != nullptr) histogram->Add(latency_ns);
  }
  void Trace(const IoRequest& request, uint64_t ended_ns) {
    if (trace_ != nullptr) [[unlikely]]
      AddToTrace(request, ended_ns);
  }
  void Trace(const Loan& loan, uint64_t ended_ns) {
    if (trace_ != nullptr) [[unlikely]]
      AddToTrace(loan, ended_ns);
  }

 private:
  friend class IoTraces;
  void AddToTrace(const IoRequest& request, uint64_t ended_ns);
  void AddToTrace(const Loan& loan, uint64_t ended_ns);
  void UpdateOn();

  std::array<Histogram*, kIoTypeCount> histograms_{};  // By IoType.
  IoTrace* trace_ = nullptr;
  bool on_ = false;
  const uint32_t device_number_;
  ListNode node_;  // Among those of the reactor; see io_traces.h.
};

}  // namespace pollux
