#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "cli/bdev_perf/bdev_meters.h"
#include "cli/bdev_perf/options.h"
#include "cli/tool/random.h"
#include "cli/workload/pattern.h"
#include "cli/workload/workload.h"
#include "core/block/block_device.h"
#include "core/memory/memory.h"
#include "core/reactors.h"

namespace pollux::cli {

// Keeps one reactor's channel of a disk busy: with I/Os, each of which begins the next when it
// ends; or, where the disk is to lend, with loans, which last a turn of the reactor. Made and
// destroyed on the control loop; in between it belongs to the reactor. Nothing allocates on the way
// of an I/O, but to describe the first difference.
class BdevWorker final : private Poller {
 public:
  struct Parts {
    const BdevPerfOptions* options = nullptr;  // Outlive it, as the disk does.
    BlockDevice* disk = nullptr;
    Reactor* reactor = nullptr;
    uint64_t first_block = 0;
    uint32_t io_blocks = 1;
    double ns_per_tick = 1;
    Workload::Shape shape;
  };
  static Result<std::unique_ptr<BdevWorker>> Make(const Parts& parts, RegionRegistry& regions);
  ~BdevWorker() override;  // Over, and stopped.

  // --- The reactor.
  void Start();
  // Nothing new begins, and what still ends is not counted: it is over soon.
  void Finish();
  // When it is over.
  void Stop();

  // --- Any thread.
  const BdevMeters& meters() const { return meters_; }
  bool over() const { return over_.load(std::memory_order_acquire); }
  Reactor& reactor() const { return *parts_.reactor; }
  const BlockDevice& disk() const { return *parts_.disk; }

  // --- When it is over.
  const std::string& first_difference() const { return first_difference_; }
  const std::string& failure() const { return failure_; }  // Why it ended early, or "".
  uint64_t passes() const { return workload_.passes(); }

 private:
  class Slot;

  BdevWorker(const Parts& parts, std::unique_ptr<SharedPages> memory);
  const BdevPerfOptions& options() const { return *parts_.options; }
  bool may_begin() const { return !finishing_ && !ended_; }
  // The same, before another one begins.
  bool MayBegin();
  // What the slot does next. False: nothing now, or nothing any more.
  bool Next(Slot& slot);
  // Begins the next I/O, or parks the slot.
  void Begin(Slot& slot, uint64_t now_ticks);
  // What of a slot's I/O has ended.
  void Account(Slot& slot, IoStatus status, uint64_t now_ticks);
  void OnComplete(Slot& slot);
  void CheckData(const Slot& slot, const iovec& part, uint64_t lba);
  void BeginParked(uint64_t now_ticks);
  void LookWhetherOver();
  BlockStamp StampOf(const Slot& slot, uint64_t lba) const;

  // With loans.
  const char* name() const override { return "bdev_perf"; }
  int Poll() override;
  bool MayBlock() override { return in_flight_ == 0 && !may_begin(); }
  bool Lend(Slot& slot);
  void GiveBack(Slot& slot, uint64_t now_ticks);

  const Parts parts_;
  BlockChannel& channel_;
  const std::unique_ptr<SharedPages> memory_;
  Workload workload_;
  Random random_;
  std::deque<Slot> slots_;
  std::vector<Slot*> parked_;
  uint64_t in_flight_ = 0;
  uint64_t begun_ = 0;
  bool finishing_ = false;
  bool ended_ = false;  // All there was to do has begun, or no more can.
  BdevMeters meters_;
  std::atomic<bool> over_{false};
  std::string first_difference_, failure_;
};

}  // namespace pollux::cli
