#include "core/uring/reactor_ring.h"

#include <liburing.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/method_call.h"
#include "core/unique_fd.h"

namespace pollux {
namespace {

constexpr unsigned kHarvestPerTurnMax = 256;
// Completions wait in a ring that much larger than the submissions': operations stay in flight
// after their entry is free again.
constexpr unsigned kCompletionsPerEntry = 4;

// The rings of the loops of this thread: one, unless a test turns several loops on it.
thread_local std::vector<std::pair<Loop*, ReactorRing*>> rings_here;
thread_local std::vector<std::pair<Loop*, std::weak_ptr<ReactorRing>>> polled_here;

// Completions are worked out by the thread that asks for them (DEFER_TASKRUN), not in whatever
// system call it happens to be in, and a flag in the ring says that there are some (TASKRUN_FLAG).
// Kernels before 6.1 refuse that; the ring then works as it always did.
int SetUp(const ReactorRing::Options& options, io_uring& ring) {
  constexpr unsigned kPlain = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  constexpr unsigned kDeferred = kPlain | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL;
  int result = -EINVAL;
  for (const unsigned flags : {kDeferred, kPlain}) {
    if (flags == kDeferred && !options.defer_taskrun) continue;
    io_uring_params params{};
    params.flags = flags | (options.polled ? IORING_SETUP_IOPOLL : 0);
    params.cq_entries = options.entries * kCompletionsPerEntry;
    result = io_uring_queue_init_params(options.entries, &ring, &params);
    if (result != -EINVAL) break;
  }
  return result;
}

// Kernels before 5.14 choose by themselves.
void PlaceWorkers(io_uring& ring, const std::vector<int>& cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<size_t>(core), &set);
  io_uring_register_iowq_aff(&ring, sizeof(set), &set);
}

// The kernel moves no more in one operation, and then says how much it was.
unsigned LengthOf(const iovec& part) {
  constexpr size_t kMax = 1 << 30;
  return static_cast<unsigned>(std::min(part.iov_len, kMax));
}

// BLOCK_URING_CMD_DISCARD of linux/blkdev.h, which is younger than our headers: the range stands
// where other commands have an address.
void PrepareDiscard(io_uring_sqe& entry, int fd, uint64_t offset, uint64_t bytes) {
  io_uring_prep_rw(IORING_OP_URING_CMD, &entry, fd, nullptr, 0, 0);
  entry.cmd_op = _IO(0x12, 0);
  entry.addr = offset;
  entry.addr3 = bytes;
}

}  // namespace

struct ReactorRing::Impl final : FdHandler {
  Impl(Loop& l, bool is_polled) : loop(l), polled(is_polled) {}
  ~Impl() {
    if (ready) io_uring_queue_exit(&ring);
  }

  io_uring_sqe* NextEntry();
  bool Queue(io_uring_sqe& entry, RingOperation& op, RingFile file);
  bool Queue(io_uring_sqe& entry, RingOperation& op) { return Queue(entry, op, entry.fd); }
  int BufferOf(const iovec& part) const;
  void Submit();
  Status HangBell();
  bool HasFinished() const;
  void Ring(bool when_finished);
  void OnReady(uint32_t events) override;

  Loop& loop;
  io_uring ring{};
  const bool polled;
  bool ready = false;
  UniqueFd bell;  // An eventfd that the kernel rings while `armed`.
  bool armed = true;
  bool submit_failed = false;    // So that it is logged once.
  std::vector<int> free_places;  // In the table of files.
  std::array<iovec, kBuffersMax> buffers;
  unsigned buffer_count = 0;
  size_t in_flight = 0;
  uint64_t submit_calls = 0;
  uint64_t harvest_calls = 0;
  DeferredCall<Impl, &Impl::Submit> submit{*this};
};

Result<std::unique_ptr<ReactorRing>> ReactorRing::Make(Loop& loop, const Options& options) {
  CHECK(options.polled || Of(loop) == nullptr, "a loop has one ring");
  auto impl = std::make_unique<Impl>(loop, options.polled);
  if (const int result = SetUp(options, impl->ring); result < 0) {
    const char* const hint = result == -ENOMEM ? ": RLIMIT_MEMLOCK is too low, or memory" : "";
    return ErrorOfErrno(-result, absl::StrFormat("no io_uring for %s: %s%s", loop.name(),
                                                 std::strerror(-result), hint));
  }
  impl->ready = true;
  if (!options.polled) RETURN_IF_ERROR(impl->HangBell());
  // Each of these only spares the kernel work for each call or operation: older ones do without.
  io_uring_register_ring_fd(&impl->ring);
  PlaceWorkers(impl->ring, options.worker_cores);
  if (options.file_table && io_uring_register_files_sparse(&impl->ring, kFilesMax) == 0) {
    for (int place = kFilesMax; place-- > 0;) impl->free_places.push_back(place);
  }
  std::unique_ptr<ReactorRing> self(new ReactorRing(std::move(impl)));
  loop.AddPoller(*self);
  if (!options.polled) rings_here.emplace_back(&loop, self.get());
  return self;
}

// What is polled rings no bell.
Status ReactorRing::Impl::HangBell() {
  bell = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell.valid()) {
    return ErrorOfErrno(errno, absl::StrFormat("no eventfd: %s", std::strerror(errno)));
  }
  if (const int result = io_uring_register_eventfd(&ring, bell.get()); result < 0) {
    return ErrorOfErrno(-result,
                        absl::StrFormat("io_uring takes no eventfd: %s", std::strerror(-result)));
  }
  RETURN_IF_ERROR(loop.Watch(bell.get(), EPOLLIN, *this));
  Ring(false);
  return OkStatus();
}

Result<std::shared_ptr<ReactorRing>> ReactorRing::PolledOf(Loop& loop) {
  std::erase_if(polled_here, [](const auto& e) { return e.second.expired(); });
  for (const auto& [l, ring] : polled_here) {
    if (l == &loop) return ring.lock();
  }
  ASSIGN_OR_RETURN(std::shared_ptr<ReactorRing> made, Make(loop, {.polled = true}));
  if (const ReactorRing* plain = Of(loop); plain != nullptr) {
    for (unsigned i = 0; i < plain->impl_->buffer_count; ++i) {
      const iovec& buffer = plain->impl_->buffers[i];
      const Status added =
          made->AddBuffers(static_cast<std::byte*>(buffer.iov_base), buffer.iov_len);
      if (!added.ok()) LogNotice("core", "%s: polled I/O does without", added.message());
    }
  }
  polled_here.emplace_back(&loop, made);
  return made;
}

ReactorRing::ReactorRing(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ReactorRing::~ReactorRing() {
  CHECK(impl_->in_flight == 0, "a ring died with operations in flight");
  impl_->loop.RemovePoller(*this);
  impl_->loop.CancelDeferred(impl_->submit);
  if (impl_->polled) return;
  const size_t found =
      std::erase_if(rings_here, [this](const auto& e) { return e.second == this; });
  CHECK(found == 1, "a ring died on another thread than it was made on");
  impl_->loop.Unwatch(impl_->bell.get(), *impl_);
}

ReactorRing* ReactorRing::Of(Loop& loop) {
  for (const auto& [l, ring] : rings_here) {
    if (l == &loop) return ring;
  }
  return nullptr;
}

bool ReactorRing::CanDiscard(int fd) {
  io_uring ring;
  if (io_uring_queue_init(1, &ring, 0) != 0) return false;
  // Nothing is asked for, and refused as such (EINVAL) by kernels that understand it.
  PrepareDiscard(*io_uring_get_sqe(&ring), fd, 0, 0);
  io_uring_cqe* entry = nullptr;
  const bool answered =
      io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &entry) == 0;
  const bool can = answered && entry->res == -EINVAL;
  io_uring_queue_exit(&ring);
  return can;
}

RingFile ReactorRing::AddFile(int fd) {
  Impl& impl = *impl_;
  if (impl.free_places.empty()) return fd;
  const int place = impl.free_places.back();
  if (io_uring_register_files_update(&impl.ring, static_cast<unsigned>(place), &fd, 1) != 1) {
    return fd;
  }
  impl.free_places.pop_back();
  return {place, true};
}

void ReactorRing::RemoveFile(RingFile file) {
  if (!file.in_table) return;
  Impl& impl = *impl_;
  const int none = -1;
  const int removed =
      io_uring_register_files_update(&impl.ring, static_cast<unsigned>(file.number), &none, 1);
  CHECK(removed == 1, "the kernel keeps a file that it was told to forget");
  impl.free_places.push_back(file.number);
}

Status ReactorRing::AddBuffers(std::byte* memory, size_t bytes) {
  Impl& impl = *impl_;
  const auto refused = [&](int error_number) {
    return ErrorOfErrno(error_number,
                        absl::StrFormat("%s: io_uring does not take %u bytes: %s", impl.loop.name(),
                                        bytes, std::strerror(error_number)));
  };
  if (impl.buffer_count == kBuffersMax) return refused(ENOSPC);
  if (impl.buffer_count == 0) {
    const int result = io_uring_register_buffers_sparse(&impl.ring, kBuffersMax);
    if (result < 0 && result != -EBUSY) return refused(-result);  // EBUSY: it was there.
  }
  const iovec buffer{memory, bytes};
  const int result =
      io_uring_register_buffers_update_tag(&impl.ring, impl.buffer_count, &buffer, nullptr, 1);
  if (result < 0) return refused(-result);
  impl.buffers[impl.buffer_count++] = buffer;
  return OkStatus();
}

// Which of the buffers holds all of it, or -1.
int ReactorRing::Impl::BufferOf(const iovec& part) const {
  const auto begin = reinterpret_cast<uintptr_t>(part.iov_base);
  for (unsigned i = 0; i < buffer_count; ++i) {
    const uintptr_t offset = begin - reinterpret_cast<uintptr_t>(buffers[i].iov_base);
    const size_t size = buffers[i].iov_len;
    if (offset < size && part.iov_len <= size - offset) return static_cast<int>(i);
  }
  return -1;
}

io_uring_sqe* ReactorRing::Impl::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring);
  if (entry != nullptr) return entry;
  Submit();
  return io_uring_get_sqe(&ring);
}

bool ReactorRing::Impl::Queue(io_uring_sqe& entry, RingOperation& op, RingFile file) {
  if (file.in_table) entry.flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data(&entry, &op);
  ++in_flight;
  loop.AfterEndOfTurn(submit);
  return true;
}

void ReactorRing::Impl::Submit() {
  if (io_uring_sq_ready(&ring) == 0) return;
  ++submit_calls;
  const int result = io_uring_submit(&ring);
  if (result < 0) {
    // Short of memory, or of room for completions: what is queued stays, and is tried again.
    CHECK(result == -EAGAIN || result == -EBUSY || result == -EINTR || result == -ENOMEM,
          "the kernel refuses the ring");
    if (!std::exchange(submit_failed, true)) {
      LogWarning("core", "%s: io_uring is short of resources: %s", loop.name(),
                 std::strerror(-result));
    }
  } else {
    submit_failed = false;
  }
  if (io_uring_sq_ready(&ring) > 0) loop.AfterEndOfTurn(submit);
}

// Whether there is something to harvest, or the kernel would make something if it were asked: of
// what is polled it never knows before.
bool ReactorRing::Impl::HasFinished() const {
  if (polled && in_flight > 0) return true;
  const unsigned flags = IO_URING_READ_ONCE(*ring.sq.kflags);
  return io_uring_cq_ready(&ring) > 0 || (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void ReactorRing::Impl::Ring(bool when_finished) {
  if (polled) return;
  if (std::exchange(armed, when_finished) == when_finished) return;
  io_uring_cq_eventfd_toggle(&ring, when_finished);
}

void ReactorRing::Impl::OnReady(uint32_t) {
  uint64_t rings;
  [[maybe_unused]] const ssize_t n = read(bell.get(), &rings, sizeof(rings));
}

int ReactorRing::Poll() {
  Impl& impl = *impl_;
  impl.Ring(false);
  if (!impl.HasFinished()) return 0;
  if (io_uring_cq_ready(&impl.ring) == 0) {
    ++impl.harvest_calls;
    io_uring_get_events(&impl.ring);
  }
  unsigned done = 0;
  for (; done < kHarvestPerTurnMax && io_uring_cq_ready(&impl.ring) > 0; ++done) {
    io_uring_cqe* entry = nullptr;
    if (io_uring_peek_cqe(&impl.ring, &entry) != 0) break;
    auto* op = static_cast<RingOperation*>(io_uring_cqe_get_data(entry));
    const int32_t result = entry->res;
    const uint32_t flags = entry->flags;
    io_uring_cqe_seen(&impl.ring, entry);
    if (op == nullptr) continue;  // A cancellation; what it cancelled tells by itself.
    if ((flags & IORING_CQE_F_MORE) == 0) --impl.in_flight;
    op->OnRingDone(result, flags);
  }
  return static_cast<int>(done);
}

// Arm first, then look once more: the kernel marks what it finished before it looks whether the
// bell is armed.
bool ReactorRing::MayBlock() {
  impl_->Ring(true);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !impl_->HasFinished() && io_uring_sq_ready(&impl_->ring) == 0;
}

// One part goes without its list, which the kernel then need not fetch; and without pinning where
// the ring has the memory already.
bool ReactorRing::Readv(RingOperation& op, RingFile file, const iovec* parts, unsigned count,
                        uint64_t offset) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  if (count != 1) {
    io_uring_prep_readv(entry, file.number, parts, count, offset);
  } else if (const int buffer = impl_->BufferOf(*parts); buffer >= 0) {
    io_uring_prep_read_fixed(entry, file.number, parts->iov_base, LengthOf(*parts), offset, buffer);
  } else {
    io_uring_prep_read(entry, file.number, parts->iov_base, LengthOf(*parts), offset);
  }
  return impl_->Queue(*entry, op, file);
}

bool ReactorRing::Writev(RingOperation& op, RingFile file, const iovec* parts, unsigned count,
                         uint64_t offset, bool dsync) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  if (count != 1) {
    io_uring_prep_writev(entry, file.number, parts, count, offset);
  } else if (const int buffer = impl_->BufferOf(*parts); buffer >= 0) {
    io_uring_prep_write_fixed(entry, file.number, parts->iov_base, LengthOf(*parts), offset,
                              buffer);
  } else {
    io_uring_prep_write(entry, file.number, parts->iov_base, LengthOf(*parts), offset);
  }
  if (dsync) entry->rw_flags = RWF_DSYNC;
  return impl_->Queue(*entry, op, file);
}

bool ReactorRing::Fsync(RingOperation& op, RingFile file, bool data_only) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  io_uring_prep_fsync(entry, file.number, data_only ? IORING_FSYNC_DATASYNC : 0u);
  return impl_->Queue(*entry, op, file);
}

bool ReactorRing::Fallocate(RingOperation& op, RingFile file, int mode, uint64_t offset,
                            uint64_t bytes) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  io_uring_prep_fallocate(entry, file.number, mode, static_cast<off_t>(offset),
                          static_cast<off_t>(bytes));
  return impl_->Queue(*entry, op, file);
}

bool ReactorRing::Discard(RingOperation& op, RingFile file, uint64_t offset, uint64_t bytes) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  PrepareDiscard(*entry, file.number, offset, bytes);
  return impl_->Queue(*entry, op, file);
}

bool ReactorRing::Receive(RingOperation& op, int fd, msghdr* message) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  io_uring_prep_recvmsg(entry, fd, message, 0);
  return impl_->Queue(*entry, op);
}

bool ReactorRing::Send(RingOperation& op, int fd, const msghdr* message) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  io_uring_prep_sendmsg(entry, fd, message, MSG_NOSIGNAL | MSG_WAITALL);
  return impl_->Queue(*entry, op);
}

bool ReactorRing::Await(RingOperation& op, int fd, uint32_t events) {
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  io_uring_prep_poll_add(entry, fd, events);
  return impl_->Queue(*entry, op);
}

bool ReactorRing::Cancel(RingOperation& target) {
  if (impl_->polled) return false;
  io_uring_sqe* entry = impl_->NextEntry();
  if (entry == nullptr) return false;
  io_uring_prep_cancel(entry, &target, 0);
  io_uring_sqe_set_data(entry, nullptr);
  impl_->loop.AfterEndOfTurn(impl_->submit);
  return true;
}

size_t ReactorRing::in_flight() const { return impl_->in_flight; }
uint64_t ReactorRing::submit_calls() const { return impl_->submit_calls; }
uint64_t ReactorRing::harvest_calls() const { return impl_->harvest_calls; }

}  // namespace pollux
