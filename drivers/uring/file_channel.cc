#include "drivers/uring/file_channel.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux {
namespace {

// Copies `bytes` between a buffer and the place `offset` of a scatter list.
void Scatter(std::span<const iovec> parts, uint64_t offset, const std::byte* from, size_t bytes) {
  for (const iovec& part : parts) {
    if (offset >= part.iov_len) {
      offset -= part.iov_len;
      continue;
    }
    const size_t length = std::min<size_t>(bytes, part.iov_len - offset);
    memcpy(static_cast<std::byte*>(part.iov_base) + offset, from, length);
    from += length;
    bytes -= length;
    offset = 0;
    if (bytes == 0) return;
  }
}

void Gather(std::span<const iovec> parts, uint64_t offset, std::byte* to, size_t bytes) {
  for (const iovec& part : parts) {
    if (offset >= part.iov_len) {
      offset -= part.iov_len;
      continue;
    }
    const size_t length = std::min<size_t>(bytes, part.iov_len - offset);
    memcpy(to, static_cast<const std::byte*>(part.iov_base) + offset, length);
    to += length;
    bytes -= length;
    offset = 0;
    if (bytes == 0) return;
  }
}

// What is left of the segment in which `offset` lies.
iovec RestOfSegment(std::span<const iovec> parts, uint64_t offset) {
  for (const iovec& part : parts) {
    if (offset < part.iov_len) {
      return {static_cast<std::byte*>(part.iov_base) + offset, part.iov_len - offset};
    }
    offset -= part.iov_len;
  }
  return {};
}

}  // namespace

// The life of a request. A bounced one goes buffer by buffer; one that the kernel cut short goes on
// segment by segment.
//
//   kNew --+--> kAwaitsBuffer --> kAwaitsRing <--> kInRing --> (again, or on)
//          +--------------------> kAwaitsRing
//          +--> kAwaitsFlush: a flush, and what must be on stable media after fallocate().
class FileChannel::FileIo final : public RingOperation, public BufferPool::Waiter {
 public:
  enum class State : uint8_t { kNew, kAwaitsBuffer, kAwaitsRing, kInRing, kAwaitsFlush };

  FileIo(FileChannel& channel, IoRequest& request) : channel_(channel), request_(request) {}
  static FileIo& Of(IoRequest& request) {
    return *std::launder(reinterpret_cast<FileIo*>(request.device_area));
  }

  void Start();
  bool TrySend();
  bool Abort();
  void End(IoStatus status);

  void OnRingDone(int32_t result, uint32_t flags) override;
  void OnBuffer(std::byte* buffer) override;

  ListNode node;

 private:
  bool IsRead() const { return request_.type == IoType::kRead; }
  bool MovesData() const { return IsRead() || request_.type == IoType::kWrite; }
  uint64_t TotalBytes() const { return request_.blocks * channel_.unit_; }
  uint64_t FileOffset() const { return request_.lba * channel_.unit_ + done_; }
  bool IsAligned() const;
  void FillBuffer();
  bool Send();
  void OnMoved(uint32_t bytes);
  void EndCutShort();
  void OnFallocated();

  FileChannel& channel_;
  IoRequest& request_;
  uint64_t done_ = 0;            // Bytes.
  std::byte* buffer_ = nullptr;  // Where data is bounced.
  iovec piece_{};                // What is asked for, unless it is all of request_.data.
  State state_ = State::kNew;
  bool in_polled_ = false;  // Which ring it was sent to.
};

struct FileChannel::Lists {
  IntrusiveList<FileIo, &FileIo::node> for_ring;  // The ring was full; in order.
};

class FileChannel::Flusher final : public RingOperation {
 public:
  explicit Flusher(FileChannel& channel) : channel_(channel) {}
  ~Flusher() { CHECK(waiting_.empty() && syncing_.empty()); }

  void Join(FileIo& io) {
    waiting_.PushBack(io);
    Continue();
  }
  bool Leave(FileIo& io) {
    if (!Contains(waiting_, io)) return false;  // The sync that covers it has begun.
    waiting_.Remove(io);
    return true;
  }
  // Begins the next sync, unless one runs: only writes that completed before it began are covered.
  // False when the ring is full.
  bool Continue();
  void OnRingDone(int32_t result, uint32_t flags) override;

 private:
  using List = IntrusiveList<FileIo, &FileIo::node>;
  static bool Contains(List& list, FileIo& io) {
    for (FileIo* i = list.Front(); i != nullptr; i = list.Next(*i)) {
      if (i == &io) return true;
    }
    return false;
  }

  FileChannel& channel_;
  List waiting_, syncing_;
};

// Tries again in the next turn what found the ring full.
class FileChannel::Retry final : public Deferred {
 public:
  explicit Retry(FileChannel& channel) : channel_(channel) {}
  void Arm() {
    if (!deferred()) channel_.reactor().Defer(*this);
  }
  void RunDeferred() override {
    auto& list = channel_.lists_->for_ring;
    while (FileIo* io = list.Front()) {
      if (!io->TrySend()) return Arm();
      list.Remove(*io);
    }
    if (!channel_.flusher_->Continue()) Arm();
  }

 private:
  FileChannel& channel_;
};

FileChannel::FileChannel(BlockDevice& device, Reactor& reactor, FileShared& shared, Files files,
                         ReactorRing& ring, std::shared_ptr<ReactorRing> polled_ring,
                         BufferPool& buffers)
    : BlockChannel(device, reactor),
      shared_(shared),
      files_(std::move(files)),
      ring_(ring),
      io_file_(ring.AddFile(files_.io.get())),
      flush_file_(ring.AddFile(files_.flush.get())),
      polled_ring_(std::move(polled_ring)),
      polled_file_(polled_ring_ == nullptr ? RingFile(-1) : polled_ring_->AddFile(files_.io.get())),
      polls_(polled_ring_ != nullptr),
      buffers_(buffers),
      unit_(block_bytes()),
      lists_(std::make_unique<Lists>()),
      flusher_(std::make_unique<Flusher>(*this)),
      retry_(std::make_unique<Retry>(*this)) {
  static_assert(sizeof(FileIo) <= IoRequest::kDeviceAreaBytes);
}

FileChannel::~FileChannel() {
  reactor().CancelDeferred(*retry_);
  ring_.RemoveFile(io_file_);
  ring_.RemoveFile(flush_file_);
  if (polled_ring_ != nullptr) polled_ring_->RemoveFile(polled_file_);
}

void FileChannel::DoSubmit(IoRequest& request) {
  FileIo& io = *new (request.device_area) FileIo(*this, request);
  io.Start();
}

bool FileChannel::TryAbort(IoRequest& target) { return FileIo::Of(target).Abort(); }

void FileChannel::FileIo::Start() {
  if (request_.type == IoType::kFlush) {
    state_ = State::kAwaitsFlush;
    return channel_.flusher_->Join(*this);
  }
  if (MovesData() && !IsAligned()) {
    buffer_ = channel_.buffers_.TryTake();
    if (buffer_ == nullptr) {
      state_ = State::kAwaitsBuffer;
      return channel_.buffers_.Wait(*this);
    }
    FillBuffer();
  }
  static_cast<void>(Send());
}

void FileChannel::FileIo::OnBuffer(std::byte* buffer) {
  buffer_ = buffer;
  FillBuffer();
  static_cast<void>(Send());
}

bool FileChannel::FileIo::IsAligned() const {
  const uintptr_t mask = channel_.shared_.file.memory_alignment - 1;
  const size_t sector_mask = channel_.shared_.file.sector_bytes - 1;
  if (!channel_.shared_.file.direct) return true;
  for (const iovec& part : request_.data) {
    if ((reinterpret_cast<uintptr_t>(part.iov_base) & mask) != 0) return false;
    if ((part.iov_len & sector_mask) != 0) return false;
  }
  return true;
}

// The next piece of a bounced request.
void FileChannel::FileIo::FillBuffer() {
  piece_ = {buffer_, static_cast<size_t>(std::min<uint64_t>(TotalBytes() - done_,
                                                            channel_.buffers_.buffer_bytes()))};
  if (!IsRead()) Gather(request_.data, done_, buffer_, piece_.iov_len);
}

// Stands in line when the ring is full, or when others do.
bool FileChannel::FileIo::Send() {
  auto& line = channel_.lists_->for_ring;
  if (line.empty() && TrySend()) return true;
  state_ = State::kAwaitsRing;
  line.PushBack(*this);
  channel_.retry_->Arm();
  return false;
}

bool FileChannel::FileIo::TrySend() {
  constexpr int kPunch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
  constexpr int kZero = FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE;
  // FUA may need more of the kernel than a queue that is polled gives.
  in_polled_ = channel_.polls_ && MovesData() && !request_.fua;
  const RingFile file = in_polled_ ? channel_.polled_file_ : channel_.io_file_;
  ReactorRing& ring = in_polled_ ? *channel_.polled_ring_ : channel_.ring_;
  const iovec* parts = piece_.iov_len > 0 ? &piece_ : request_.data.data();
  const auto count = piece_.iov_len > 0 ? 1u : static_cast<unsigned>(request_.data.size());
  bool sent = false;
  switch (request_.type) {
    case IoType::kRead:
      sent = ring.Readv(*this, file, parts, count, FileOffset());
      break;
    case IoType::kWrite:
      sent = ring.Writev(*this, file, parts, count, FileOffset(), request_.fua);
      break;
    case IoType::kUnmap:
      sent = channel_.shared_.file.can_punch
                 ? ring.Fallocate(*this, file, kPunch, FileOffset(), TotalBytes())
                 : ring.Discard(*this, file, FileOffset(), TotalBytes());
      break;
    case IoType::kWriteZeroes:
      sent = ring.Fallocate(*this, file, channel_.shared_.file.can_zero ? kZero : kPunch,
                            FileOffset(), TotalBytes());
      break;
    default:
      CHECK(false, "the block layer executes the rest");
  }
  if (sent) state_ = State::kInRing;
  return sent;
}

void FileChannel::FileIo::OnRingDone(int32_t result, uint32_t) {
  if (result == -EAGAIN || result == -EINTR) {
    static_cast<void>(Send());
    return;
  }
  if (result == -EOPNOTSUPP && in_polled_) {
    channel_.polls_ = false;
    static_cast<void>(Send());
    return;
  }
  if (result < 0) return End(IoStatusOfErrno(-result));
  if (MovesData()) return OnMoved(static_cast<uint32_t>(result));
  OnFallocated();
}

void FileChannel::FileIo::OnMoved(uint32_t bytes) {
  const uint64_t total = TotalBytes();
  if (bytes == 0 || bytes > total - done_) return EndCutShort();
  if (buffer_ != nullptr && IsRead()) Scatter(request_.data, done_, buffer_, bytes);
  done_ += bytes;
  if (done_ == total) return End(IoStatus::kSuccess);
  // Direct I/O stops within a sector only where the file ends.
  if (channel_.shared_.file.direct && bytes % channel_.shared_.file.sector_bytes != 0) {
    return EndCutShort();
  }
  if (buffer_ != nullptr) {
    FillBuffer();
  } else {
    piece_ = RestOfSegment(request_.data, done_);
  }
  static_cast<void>(Send());
}

// The file ends where data was asked for. It may grow again, and is then read as before.
void FileChannel::FileIo::EndCutShort() {
  FileShared& shared = channel_.shared_;
  if (!shared.cut_short.exchange(true)) {
    LogError("bdev_uring", "%s has become shorter than its disk: it ends before byte %u",
             Printable(shared.file.path), FileOffset() + 1);
  }
  End(IoStatus::kMediumError);
}

void FileChannel::FileIo::OnFallocated() {
  if (!request_.fua) return End(IoStatus::kSuccess);
  state_ = State::kAwaitsFlush;
  channel_.flusher_->Join(*this);
}

bool FileChannel::FileIo::Abort() {
  switch (state_) {
    case State::kAwaitsBuffer:
      channel_.buffers_.CancelWait(*this);
      break;
    case State::kAwaitsRing:
      channel_.lists_->for_ring.Remove(*this);
      break;
    case State::kAwaitsFlush:
      if (!channel_.flusher_->Leave(*this)) return false;
      break;
    case State::kInRing:
      // It may yet be stopped, or not: it ends by itself and says which.
      if (!in_polled_) static_cast<void>(channel_.ring_.Cancel(*this));
      return false;
    case State::kNew:
      return false;
  }
  End(IoStatus::kAborted);
  return true;
}

void FileChannel::FileIo::End(IoStatus status) {
  FileChannel& channel = channel_;
  IoRequest& request = request_;
  std::byte* const buffer = buffer_;
  this->~FileIo();
  channel.Complete(request, status);
  if (buffer != nullptr) channel.buffers_.Give(buffer);
}

bool FileChannel::Flusher::Continue() {
  if (!syncing_.empty() || waiting_.empty()) return true;
  const IoStatus failure = channel_.shared_.flush_failure.load(std::memory_order_relaxed);
  if (failure != IoStatus::kSuccess) {
    while (FileIo* io = waiting_.PopFront()) io->End(failure);
    return true;
  }
  if (!channel_.ring_.Fsync(*this, channel_.flush_file_, /*data_only=*/true)) {
    channel_.retry_->Arm();
    return false;
  }
  syncing_.TakeAll(waiting_);
  return true;
}

void FileChannel::Flusher::OnRingDone(int32_t result, uint32_t) {
  FileShared& shared = channel_.shared_;
  if (result < 0 && result != -EINTR && result != -EAGAIN) {
    IoStatus none = IoStatus::kSuccess;
    if (shared.flush_failure.compare_exchange_strong(none, IoStatusOfErrno(-result))) {
      LogError("bdev_uring",
               "%s: a flush failed (%s): no flush will succeed until the disk is reopened",
               Printable(shared.file.path), strerror(-result));
    }
  }
  const IoStatus failure = shared.flush_failure.load(std::memory_order_relaxed);
  List ended;
  ended.TakeAll(syncing_);
  if (result < 0 && failure == IoStatus::kSuccess) {
    waiting_.TakeAll(ended);  // It was interrupted: once more.
  }
  while (FileIo* io = ended.PopFront()) io->End(failure);
  Continue();
}

}  // namespace pollux
