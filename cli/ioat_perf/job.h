#pragma once
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/ioat_perf/work.h"
#include "cli/tool/job_run.h"
#include "cli/tool/meter.h"
#include "core/status.h"
#include "drivers/ioat/ioat.h"

namespace pollux::cli {

// Keeps one channel full; or the CPU, in the place of one. Nothing allocates on the way of an
// operation, but to describe errors and the first difference.
class IoatJob final : public PolledJob {
 public:
  struct Parts {
    pollux_ioat_host* host = nullptr;
    pollux_ioat_device* device = nullptr;  // Null: the CPU.
    uint32_t depth = 1;
    uint64_t operations_max = 0;  // 0: no bound.
    uint64_t seed = 0;
    bool verify = false;
    double ns_per_tick = 1;
    IoatWork::Shape shape;
  };
  // Takes a channel, and memory for the data.
  static Result<std::unique_ptr<IoatJob>> Make(const Parts& parts);
  ~IoatJob() override;  // Nothing is in flight.
  IoatJob(const IoatJob&) = delete;
  IoatJob& operator=(const IoatJob&) = delete;

  // --- Its thread.
  void Start() override;
  void Poll() override;
  bool over() const override {
    return (stop_.load(std::memory_order_relaxed) || ended_) && in_flight_ == 0;
  }

  // --- Any thread.
  void Stop() override { stop_.store(true, std::memory_order_relaxed); }
  const Meter& meter() const { return meter_; }
  uint64_t error_count() const { return error_count_.load(std::memory_order_relaxed); }

  // --- When it is over.
  // By status and channel errors. What is beyond kKindsMax kinds is only counted.
  static constexpr size_t kKindsMax = 16;
  using Kind = std::pair<pollux_ioat_status, uint32_t>;
  const std::map<Kind, uint64_t>& errors() const { return errors_; }
  uint64_t verified() const { return verified_; }
  uint64_t differences() const { return differences_; }
  const std::string& first_difference() const { return first_difference_; }
  // Why it ended early, or "".
  std::string failure() const;
  pollux_ioat_statistics statistics() const;
  uint32_t depth() const { return static_cast<uint32_t>(slots_.size()); }

 private:
  // One operation, again and again.
  struct Slot final : ioat::Request {
    Slot(IoatJob& of, IoatWork its) : job(of), work(std::move(its)) {}
    void OnComplete(ioat::Completion completion) override { job.OnComplete(*this, completion); }

    IoatJob& job;
    IoatWork work;
    uint64_t started_ticks = 0;
  };

  IoatJob(const Parts& parts, pollux_ioat_channel* channel);
  Status AllocateSlots();
  // Submits, or parks the slot.
  void Submit(Slot& slot, uint64_t now_ticks);
  int Begin(Slot& slot);
  void OnComplete(Slot& slot, ioat::Completion completion);
  void Check(const Slot& slot);

  const Parts parts_;
  const ioat::Channel channel_;  // Null: the CPU.
  ioat::Memory memory_;
  std::deque<Slot> slots_;
  std::vector<Slot*> parked_;
  std::vector<Slot*> for_cpu_;  // A ring of what the CPU has to do.
  size_t cpu_next_ = 0;
  uint32_t in_flight_ = 0;
  uint64_t submitted_ = 0;
  bool ended_ = false;  // All there was to do has been submitted, or no more can be.
  std::atomic<bool> stop_{false};
  Meter meter_;
  std::atomic<uint64_t> error_count_{0};
  std::map<Kind, uint64_t> errors_;
  uint64_t verified_ = 0, differences_ = 0;
  std::string first_difference_;
  int submit_error_ = 0;
};

}  // namespace pollux::cli
