#pragma once
#include <memory>
#include <vector>

#include "core/block/stoppable_io.h"
#include "core/memory/buffer_pool.h"
#include "targets/scsi/device_view.h"
#include "targets/scsi/unit_change.h"

namespace pollux::scsi {

class SanitizeEnd;

// A sanitize operation (SBC-3 §4.11) on the way, on one reactor. It outlives the command that began
// it, and no task management ends it: only that the unit goes, which leaves the unit failed, and
// the end of the process, which nothing remembers.
class Sanitizer final : public std::enable_shared_from_this<Sanitizer> {
 public:
  struct Order {
    std::vector<std::byte> block;  // What is written on each block, in the first pass.
    uint32_t passes = 1;
    bool invert = false;            // Each pass has the bits of the pass before inverted.
    bool may_exit_failure = false;  // AUSE
  };

  // The unit is being shown as sanitizing, on all reactors.
  Sanitizer(DeviceView& view, LogicalUnit& unit, BufferPool& buffers, Order order,
            std::shared_ptr<SanitizeProgress> progress)
      : view_(view),
        unit_(unit),
        buffers_(buffers),
        order_(std::move(order)),
        progress_(std::move(progress)) {}

  // Begins, among the unit's background tasks.
  void Start();
  // Ends as soon as it can, as failed.
  void Stop();
  // Then the unit's status says how.
  bool ended() const { return ended_; }

 private:
  friend class SanitizeEnd;
  struct Io final : StoppableIo {
    explicit Io(BlockChannel& on) : channel(on) { source = IoSource::kIscsi; }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> task) {
      waiter = task;
      channel.Submit(*this);
    }
    IoStatus await_resume() const { return status; }
    void OnComplete() override {
      if (Ended()) waiter.resume();
    }
    void OnStopped() override { waiter.resume(); }
    BlockChannel& channel;
    std::coroutine_handle<> waiter;
  };
  struct Buffer final : BufferPool::Waiter {
    explicit Buffer(BufferPool& from) : pool(from), bytes(from.TryTake()) {}
    bool await_ready() const noexcept { return bytes != nullptr; }
    void await_suspend(std::coroutine_handle<> task) {
      waiter = task;
      pool.Wait(*this);
    }
    void await_resume() const noexcept {}
    void OnBuffer(std::byte* buffer) override {
      bytes = buffer;
      waiter.resume();
    }
    BufferPool& pool;
    std::byte* bytes;
    std::coroutine_handle<> waiter;
  };

  static Task<void> RunKept(std::shared_ptr<Sanitizer> self);
  Task<void> Run();
  Task<bool> OverwriteAll(std::byte* buffer);
  Task<bool> Overwrite(std::byte* buffer);
  // Again, as long as the device says that it will be able to.
  Task<IoStatus> Submit();

  DeviceView& view_;
  LogicalUnit& unit_;
  BufferPool& buffers_;
  Order order_;
  const std::shared_ptr<SanitizeProgress> progress_;
  Io io_{*unit_.channel};
  iovec part_{};
  bool stopping_ = false;
  bool ended_ = false;
  std::vector<SanitizeEnd*> waiting_;
};

// What a SANITIZE without IMMED waits for.
class SanitizeEnd final : public UnitChange {
 public:
  explicit SanitizeEnd(std::shared_ptr<Sanitizer> sanitizer) : sanitizer_(std::move(sanitizer)) {}
  Task<bool> Execute(LogicalUnit& unit) override;
  bool Abort() override;

  bool await_ready() const noexcept { return sanitizer_->ended(); }
  void await_suspend(std::coroutine_handle<> task) {
    waiter_ = task;
    sanitizer_->waiting_.push_back(this);
  }
  void await_resume() const noexcept {}

 private:
  friend class Sanitizer;
  const std::shared_ptr<Sanitizer> sanitizer_;
  std::coroutine_handle<> waiter_;
};

}  // namespace pollux::scsi
