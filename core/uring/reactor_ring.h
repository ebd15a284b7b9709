#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

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

// A file as operations name it: a descriptor, or a place in the ring's own table of files, which
// spares the kernel counting a reference for each operation.
struct RingFile {
  RingFile(int descriptor) : number(descriptor) {}  // NOLINT: a descriptor is one.
  RingFile(int place, bool table) : number(place), in_table(table) {}
  int number;
  bool in_table = false;
};

// The io_uring of one loop (SINGLE_ISSUER, DEFER_TASKRUN where the kernel has it): disks and
// streams of the loop share it. What a turn queued is submitted in one system call at its end;
// completions are polled, and ring the loop when it blocks. The one module that includes liburing.
class ReactorRing final : public Poller {
 public:
  struct Options {
    unsigned entries = 1024;
    bool defer_taskrun = true;  // Where the kernel has it. False: as on a kernel that has not.
    bool file_table = true;     // The same for AddFile.
    // Where the kernel's workers do what would block. Empty: where this thread may run, which on a
    // pinned one takes the time of its polling.
    std::vector<int> worker_cores;
    // For direct reads and writes of block devices whose queues are polled (IOPOLL), and nothing
    // else: no interrupt ends them, the loop turns until they have.
    bool polled = false;
  };
  // Made and destroyed on the loop's thread, destroyed with nothing in flight; while it lives,
  // Of(loop) finds it, there. ENOSYS and EPERM where the kernel has no io_uring for us.
  static Result<std::unique_ptr<ReactorRing>> Make(Loop& loop, const Options& options);
  ~ReactorRing() override;
  static ReactorRing* Of(Loop& loop);
  // The polled ring of the loop, with the buffers that Of(loop) has: made for the first who asks,
  // ended with the last who holds it. All on the loop's thread.
  static Result<std::shared_ptr<ReactorRing>> PolledOf(Loop& loop);
  // Whether the kernel can discard blocks of an open block device by io_uring (Linux 6.12). Any
  // thread; it asks through a ring of its own.
  static bool CanDiscard(int fd);

  // Enters the file in the ring's table, which keeps it open until RemoveFile. The descriptor as it
  // is, where the table is full or the kernel has none.
  static constexpr unsigned kFilesMax = 1024;
  RingFile AddFile(int fd);
  void RemoveFile(RingFile file);
  // Pins the memory, so that operations of one part that lies in it need not do so each time. It
  // stays mapped while the ring lives. ENOMEM where RLIMIT_MEMLOCK is in the way: nothing is lost.
  static constexpr unsigned kBuffersMax = 16;
  Status AddBuffers(std::byte* memory, size_t bytes);

  // Each queues one operation and returns false when the submission queue is full even after a
  // submit; nothing has happened then.
  bool Readv(RingOperation& op, RingFile file, const iovec* parts, unsigned count, uint64_t offset);
  bool Writev(RingOperation& op, RingFile file, const iovec* parts, unsigned count, uint64_t offset,
              bool dsync);
  bool Fsync(RingOperation& op, RingFile file, bool data_only);
  bool Fallocate(RingOperation& op, RingFile file, int mode, uint64_t offset, uint64_t bytes);
  // Of a block device: the data need not be kept, and reads back as the device likes.
  bool Discard(RingOperation& op, RingFile file, uint64_t offset, uint64_t bytes);
  // The message header and its parts stay until the turn has ended, the memory they point to until
  // OnRingDone. Send goes on by itself until all is sent or an error, or it is cancelled, stops it.
  bool Receive(RingOperation& op, int fd, msghdr* message);
  bool Send(RingOperation& op, int fd, const msghdr* message);
  // Done, with the events found, as soon as `fd` has one of `events` (POLLIN, POLLRDHUP, ...) or
  // POLLERR or POLLHUP.
  bool Await(RingOperation& op, int fd, uint32_t events);
  // Asks that `target` end early; its OnRingDone then has -ECANCELED, or its own result. Nobody can
  // ask that of what is polled: false.
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
