#pragma once
#include "core/block/io_request.h"
#include "core/block/range_lock.h"

namespace pollux {

// Executes the compare-and-writes of one channel, one after the other, on a device that has no such
// command: it locks the range on all reactors, compares, and writes when equal.
class CompareAndWriter final : private RangeLock::Owner {
 public:
  CompareAndWriter(BlockChannel& channel, RangeLock& lock);
  ~CompareAndWriter();

  void Start(IoRequest& request);
  // Only while it waits in line or for the lock.
  bool Abort(IoRequest& request);

 private:
  // A request in line; in its device area.
  struct Turn;
  // The compare, then the write.
  class Step final : public IoRequest {
   public:
    explicit Step(CompareAndWriter& owner) : owner_(owner) {}
    void OnComplete() override { owner_.OnStepEnded(); }

   private:
    CompareAndWriter& owner_;
  };
  struct Line;

  void LockForNext();
  void OnLocked() override;
  void RunStep(IoType type, std::span<const iovec> data);
  void OnStepEnded();
  void End(IoStatus status);

  BlockChannel& channel_;
  const std::unique_ptr<Line> line_;
  IoRequest* current_ = nullptr;  // The one that waits for the lock, or has it.
  bool current_aborted_ = false;
  bool writing_ = false;  // It is equal, and the write has begun: too late to abort.
  Step step_{*this};
};

}  // namespace pollux
