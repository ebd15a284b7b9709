#include <sys/uio.h>

#include <coroutine>

#include "core/run_on.h"
#include "drivers/nvme_disk/nvme_path.h"

// What is asked of a controller that is attached.
namespace pollux {

// An admin command to be waited for. Its waiter goes on after the poll in which it ended, so that
// it may do anything to the controller.
class NvmePath::AdminCall final : public nvme::Request, public Message {
 public:
  explicit AdminCall(Loop& control) : control_(control) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) noexcept { task_ = task; }
  nvme::Completion await_resume() const noexcept { return completion_; }

 private:
  void OnComplete(nvme::Completion completion) override {
    completion_ = completion;
    control_.Post(*this);
  }
  void Run() override { task_.resume(); }

  Loop& control_;
  std::coroutine_handle<> task_;
  nvme::Completion completion_{};
};

// The same for an I/O command, on the queue's reactor.
class NvmePath::IoCall final : public NvmeCommand, public Message {
 public:
  IoCall(NvmeQueue& queue, const pollux_nvme_command& command, iovec data, void* metadata,
         size_t metadata_bytes)
      : queue_(queue),
        command_(command),
        data_(data),
        metadata_(metadata),
        metadata_bytes_(metadata_bytes) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) noexcept {
    task_ = task;
    if (!queue_.MaySubmit() || !TrySend()) queue_.Await(*this);
  }
  Result<nvme::Completion> await_resume() const {
    if (error_ == 0) return completion_;
    return ErrorOfErrno(-error_, "the command cannot be sent");
  }

 private:
  bool TrySend() override {
    error_ =
        pollux_nvme_io_command(queue_.c(), this, &command_, data_.iov_len > 0 ? &data_ : nullptr,
                               data_.iov_len > 0 ? 1 : 0, metadata_, metadata_bytes_);
    if (error_ == -EAGAIN && !queue_.refusing()) return false;
    error_ == 0 ? queue_.RingLater() : queue_.reactor().Post(*this);
    return true;
  }
  void OnComplete(nvme::Completion completion) override {
    completion_ = completion;
    queue_.reactor().Post(*this);
  }
  void Run() override { task_.resume(); }

  NvmeQueue& queue_;
  const pollux_nvme_command command_;
  const iovec data_;
  void* const metadata_;
  const size_t metadata_bytes_;
  std::coroutine_handle<> task_;
  nvme::Completion completion_{};
  int error_ = 0;
};

Task<Status> NvmePath::Reset() {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  const uint64_t before = resets_begun_;
  if (const int error = pollux_nvme_reset(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  poller_.Poll();
  const auto waits = [this, before] {
    return moves() || (resets_begun_ == before && state() == POLLUX_NVME_STATE_READY);
  };
  while (waits()) co_await polled_;
  if (state() != POLLUX_NVME_STATE_READY) co_return Failure("the reset did not help");
  co_return OkStatus();
}

Task<Status> NvmePath::Disable() {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  if (const int error = pollux_nvme_disable(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  poller_.Poll();
  while (state() == POLLUX_NVME_STATE_READY || moves()) co_await polled_;
  if (state() != POLLUX_NVME_STATE_DISABLED) co_return Failure("cannot be disabled");
  co_return OkStatus();
}

Task<Status> NvmePath::Enable() {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  if (const int error = pollux_nvme_enable(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  poller_.Poll();
  while (state() == POLLUX_NVME_STATE_DISABLED || moves()) co_await polled_;
  if (state() != POLLUX_NVME_STATE_READY) co_return Failure("cannot be enabled");
  co_return OkStatus();
}

Task<Result<nvme::Completion>> NvmePath::Admin(pollux_nvme_command command, void* data,
                                               size_t bytes) {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  AdminCall call(environment_.control);
  for (;;) {
    const int error = pollux_nvme_admin(controller_, call.c(), &command, data, bytes);
    if (error == 0) break;
    if (error != -EAGAIN) co_return ErrorOfErrno(-error, pollux_nvme_error_text());
    co_await polled_;  // The queue is full, or a reset is under way.
    if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  }
  ++admin_in_flight_;
  poller_.Poll();
  const nvme::Completion completion = co_await call;
  --admin_in_flight_;
  co_return completion;
}

Task<Result<nvme::Completion>> NvmePath::Io(pollux_nvme_command command, iovec data, void* metadata,
                                            size_t metadata_bytes) {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  NvmeQueue& queue = *queues_.front();
  co_await SwitchTo(queue.reactor());
  Result<nvme::Completion> result = ErrorOfErrno(EIO, "not sent");
  {
    IoCall call(queue, command, data, metadata, metadata_bytes);
    result = co_await call;
  }
  co_await SwitchTo(environment_.control);
  co_return result;
}

}  // namespace pollux
