#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>

#include "core/loop.h"
#include "core/status.h"

struct io_uring_sqe;

namespace pollux {

// One operation on a ring. Embed it; it stays where it is until OnRingDone.
class RingOperation {
 public:
  // `result` is what the system call would return: a count, or a negative errno.
  virtual void OnRingDone(int32_t result, uint32_t flags) = 0;

 protected:
  ~RingOperation() = default;
};

// The io_uring of one loop (SINGLE_ISSUER, DEFER_TASKRUN where the kernel has it): disks and
// streams of the loop share it. What a turn queued is submitted in one system call at its end;
// completions are polled, and ring the loop when it blocks. The one module that includes liburing.
class ReactorRing final : public Poller {
 public:
  struct Options {
    unsigned entries = 1024;
    bool defer_taskrun = true;  // Where the kernel has it. False: as on a kernel that has not.
  };
  // Made and destroyed on the loop's thread, destroyed with nothing in flight; while it lives,
  // Of(loop) finds it, there. ENOSYS and EPERM where the kernel has no io_uring for us.
  static Result<std::unique_ptr<ReactorRing>> Make(Loop& loop, const Options& options);
  ~ReactorRing() override;
  static ReactorRing* Of(Loop& loop);

  // Each queues one operation and returns false when the submission queue is full even after a
  // submit; nothing has happened then.
  bool Readv(RingOperation& op, int fd, const iovec* parts, unsigned count, uint64_t offset);
  bool Writev(RingOperation& op, int fd, const iovec* parts, unsigned count, uint64_t offset,
              bool dsync);
  bool Fsync(RingOperation& op, int fd, bool data_only);
  bool Fallocate(RingOperation& op, int fd, int mode, uint64_t offset, uint64_t bytes);
  // The message header and its parts stay until the turn has ended, the memory they point to until
  // OnRingDone. Send goes on by itself until all is sent or an error, or it is cancelled, stops it.
  bool Receive(RingOperation& op, int fd, msghdr* message);
  bool Send(RingOperation& op, int fd, const msghdr* message);
  // Done, with the events found, as soon as `fd` has one of `events` (POLLIN, POLLRDHUP, ...) or
  // POLLERR or POLLHUP.
  bool Await(RingOperation& op, int fd, uint32_t events);
  // Asks that `target` end early; its OnRingDone then has -ECANCELED, or its own result.
  bool Cancel(RingOperation& target);

  size_t in_flight() const;
  // System calls: to submit, and to let the kernel post what it has finished.
  uint64_t submit_calls() const;
  uint64_t harvest_calls() const;

  const char* name() const override { return "io_uring"; }
  int Poll() override;
  bool MayBlock() override;

 private:
  struct Impl;
  explicit ReactorRing(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace pollux
