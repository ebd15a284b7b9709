#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "cli/perf/error_counts.h"
#include "cli/tool/job_run.h"
#include "cli/workload/io_meters.h"
#include "cli/workload/pattern.h"
#include "cli/workload/workload.h"
#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {

// Keeps one queue full. Nothing allocates on the way of an I/O, but to describe the first
// difference that verifying finds.
class Job final : public PolledJob {
 public:
  struct Parts {
    pollux_nvme_host* host = nullptr;
    pollux_nvme_controller* controller = nullptr;
    const pollux_nvme_namespace* ns = nullptr;
    uint32_t depth = 1;
    uint32_t io_blocks = 1;
    uint64_t first_block = 0;
    uint64_t seed = 0;
    uint64_t ios_max = 0;  // 0: no bound.
    bool fua = false;
    double ns_per_tick = 1;
    Workload::Shape shape;
  };
  // Takes a queue, and memory for the data.
  static Result<std::unique_ptr<Job>> Make(const Parts& parts);
  ~Job() override;  // Nothing is in flight.
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // --- Its thread.
  void Start() override;
  void Poll() override;
  bool over() const override {
    return (stop_.load(std::memory_order_relaxed) || ended_) && in_flight_ == 0;
  }

  // --- Any thread.
  void Stop() override { stop_.store(true, std::memory_order_relaxed); }
  const IoMeters& meters() const { return meters_; }
  uint64_t error_count() const { return errors_.total(); }

  // --- When it is over.
  const ErrorCounts& errors() const { return errors_; }
  uint64_t differences() const { return differences_; }
  const std::string& first_difference() const { return first_difference_; }
  int submit_error() const { return submit_error_; }
  uint64_t passes() const { return workload_.passes(); }
  uint16_t queue_id() const;
  pollux_nvme_queue_statistics queue_statistics() const;
  uint32_t depth() const { return static_cast<uint32_t>(slots_.size()); }

 private:
  // One I/O, again and again.
  struct Slot final : nvme::Request {
    void OnComplete(nvme::Completion completion) override { job->OnComplete(*this, completion); }

    Job* job = nullptr;
    iovec piece{};
    nvme::Io io{};
    Workload::Operation operation;
    uint64_t started_ticks = 0;
  };

  Job(const Parts& parts, pollux_nvme_queue* queue);
  Status AllocateSlots();
  // Submits something to do, or parks the slot.
  void Submit(Slot& slot, uint64_t now_ticks);
  void OnComplete(Slot& slot, nvme::Completion completion);
  void Count(const Slot& slot, uint64_t now_ticks);
  BlockStamp StampOf(const Slot& slot) const;
  // Whether the data is what was written.
  void Check(const Slot& slot);

  const Parts parts_;
  const nvme::Queue queue_;
  const uint32_t block_bytes_;  // As they lie in the data.
  Workload workload_;
  std::vector<nvme::Memory> memory_;
  std::vector<Slot> slots_;
  std::vector<Slot*> parked_;
  uint32_t in_flight_ = 0;
  uint64_t submitted_ = 0;
  bool ended_ = false;  // Everything there was to do has been submitted, or no more can be.
  std::atomic<bool> stop_{false};
  IoMeters meters_;
  ErrorCounts errors_;
  uint64_t differences_ = 0;
  std::string first_difference_;
  int submit_error_ = 0;
};

}  // namespace pollux::cli
