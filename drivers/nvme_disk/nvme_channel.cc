#include "drivers/nvme_disk/nvme_channel.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include "core/block/block_device.h"
#include "core/check.h"
#include "drivers/nvme_disk/nvme_status.h"

namespace pollux {
namespace {

constexpr uint16_t kMissingFused = 0x00a;

// Calls `visit(segment part, bytes done before it)` for [offset, offset + bytes) of a scatter list.
template <typename Visit>
void ForEachPart(std::span<const iovec> segments, uint64_t offset, size_t bytes, Visit visit) {
  size_t done = 0;
  for (const iovec& segment : segments) {
    if (offset >= segment.iov_len) {
      offset -= segment.iov_len;
      continue;
    }
    const size_t length = std::min<size_t>(bytes - done, segment.iov_len - offset);
    visit(static_cast<std::byte*>(segment.iov_base) + offset, length, done);
    done += length;
    offset = 0;
    if (done == bytes) return;
  }
}

void Gather(std::span<const iovec> from, uint64_t offset, std::byte* to, size_t bytes) {
  ForEachPart(from, offset, bytes, [to](const std::byte* part, size_t length, size_t done) {
    memcpy(to + done, part, length);
  });
}

void Scatter(const std::byte* from, std::span<const iovec> to, uint64_t offset, size_t bytes) {
  ForEachPart(to, offset, bytes, [from](std::byte* part, size_t length, size_t done) {
    memcpy(part, from + done, length);
  });
}

// Where the buffer first differs from the scatter list, or `bytes`.
size_t Difference(const std::byte* buffer, std::span<const iovec> with, uint64_t offset,
                  size_t bytes) {
  size_t found = bytes;
  ForEachPart(with, offset, bytes, [&](const std::byte* part, size_t length, size_t done) {
    if (found < bytes) return;
    const std::byte* here = buffer + done;
    const auto place = std::mismatch(here, here + length, part);
    if (place.first != here + length) found = static_cast<size_t>(place.first - buffer);
  });
  return found;
}

}  // namespace

// The life of a request:
//
//   kNew --+---------------------> kInFlight --+--> ended
//          +--> kAwaitsPair -+        |  ^     +--> again, or the next piece
//          +-> kAwaitsBuffer-+--> kInLine
//
// What cannot be sent as it is takes a buffer and starts again with its first piece. A compare that
// found a difference becomes reads that look for its place.
class NvmeChannel::Io final : public NvmeCommand {
 public:
  Io(NvmeChannel& channel, IoRequest& request) : channel_(channel), request_(request) {
    on_complete = &Io::OnEnded;  // Not by a virtual call: this is every I/O.
  }
  static Io& Of(IoRequest& request) {
    return *std::launder(reinterpret_cast<Io*>(request.device_area));
  }

  bool TryStartPlain();
  void Start();
  bool Abort();
  bool TrySend() override;
  void OnComplete(nvme::Completion completion) override;

  void AwaitBuffer();
  void OnBuffer(std::byte* buffer);
  // For the pair: what the request is about, and how it goes on.
  IoRequest& request() { return request_; }
  std::byte* buffer() { return buffer_; }
  void AwaitPair() { state_ = State::kAwaitsPair; }
  void InPair() { state_ = State::kInFlight; }
  bool TakeRetry(nvme::Completion completion, bool& later);
  void FindDifference();
  void End(IoStatus status);

 private:
  static void OnEnded(pollux_nvme_request* request, nvme::Completion completion) {
    static_cast<Io*>(request)->Io::OnComplete(completion);
  }
  enum class State : uint8_t { kNew, kAwaitsBuffer, kAwaitsPair, kInLine, kInFlight };

  bool MovesData() const {
    return request_.type == IoType::kRead || request_.type == IoType::kWrite ||
           request_.type == IoType::kCompare;
  }
  bool Reads() const { return finding_ || request_.type == IoType::kRead; }
  std::span<const iovec> Expected() const {
    return request_.type == IoType::kCompareAndWrite ? request_.compare_data : request_.data;
  }
  uint64_t DoneBytes() const { return uint64_t{done_} * channel_.facts_.block_bytes; }
  size_t PieceBytes() const { return size_t{piece_} * channel_.facts_.block_bytes; }
  std::byte* BufferMetadata() { return buffer_ + PieceBytes(); }
  std::byte* RequestMetadata() {
    return request_.metadata + size_t{done_} * channel_.facts_.separate_metadata_bytes;
  }
  size_t PieceMetadataBytes() const {
    return size_t{piece_} * channel_.facts_.separate_metadata_bytes;
  }
  void Send();
  int Submit();
  int SubmitData();
  int SubmitUnmap();
  void SetProtection(pollux_nvme_io& io);
  void NextPiece();
  void OnSuccess();
  void OnFailure(nvme::Completion completion);
  void OnFound();

  NvmeChannel& channel_;
  IoRequest& request_;
  std::byte* buffer_ = nullptr;  // Where data is bounced.
  uint32_t done_ = 0;            // Blocks, of a bounced request.
  uint32_t piece_ = 0;           // Blocks in the buffer.
  uint16_t retries_ = 0;
  State state_ = State::kNew;
  bool aborted_ : 1 = false;   // Its end was asked for.
  bool flushing_ : 1 = false;  // The unmap is done, and what makes it durable is under way.
  bool finding_ : 1 = false;   // Looking for the place of a difference.
};

// Those that wait for a buffer, served in order. The pool knows one waiter of this channel.
class NvmeChannel::BufferLine final : public BufferPool::Waiter {
 public:
  explicit BufferLine(BufferPool& pool) : pool_(pool) {}
  ~BufferLine() {
    if (waiting()) pool_.CancelWait(*this);
  }

  void Join(Io& io) {
    std::byte* buffer = line_.empty() ? pool_.TryTake() : nullptr;
    if (buffer != nullptr) return io.OnBuffer(buffer);
    line_.PushBack(io);
    if (!waiting()) pool_.Wait(*this);
  }
  void Leave(Io& io) {
    line_.Remove(io);
    if (line_.empty() && waiting()) pool_.CancelWait(*this);
  }

 private:
  void OnBuffer(std::byte* buffer) override {
    Io& first = static_cast<Io&>(*line_.PopFront());
    if (!line_.empty()) pool_.Wait(*this);
    first.OnBuffer(buffer);
  }

  BufferPool& pool_;
  NvmeCommand::Line line_;
};

// Executes the compare-and-writes of the channel, one after the other, as fused commands. Base
// §3.4.2: both entries follow each other in the queue and are announced by one doorbell. Their data
// is copied, so that nothing can be wrong with the second once the first is queued.
class NvmeChannel::Pair final : public NvmeCommand {
 public:
  explicit Pair(NvmeChannel& channel) : channel_(channel) {}
  ~Pair() { CHECK(current_ == nullptr && line_.empty()); }

  void Join(Io& io) {
    io.AwaitPair();
    line_.PushBack(io);
    Next();
  }
  void Leave(Io& io) { line_.Remove(io); }
  void OnBuffer() {
    const IoRequest& request = current_->request();
    const size_t bytes = request.blocks * channel_.facts_.block_bytes;
    Gather(request.compare_data, 0, current_->buffer(), bytes);
    Gather(request.data, 0, current_->buffer() + bytes, bytes);
    current_->InPair();
    Send();
  }
  void OnEnded(const Io& io) {
    if (current_ != &io) return;
    current_ = nullptr;
    Next();
  }

  bool TrySend() override;
  void OnComplete(nvme::Completion completion) override {
    compare_end_ = completion;
    OnOneEnded();
  }

 private:
  class Write final : public nvme::Request {
   public:
    explicit Write(Pair& pair) : pair_(pair) {}
    void OnComplete(nvme::Completion completion) override {
      pair_.write_end_ = completion;
      pair_.OnOneEnded();
    }

   private:
    Pair& pair_;
  };

  void Next() {
    if (current_ != nullptr || line_.empty()) return;
    current_ = static_cast<Io*>(line_.PopFront());
    current_->AwaitBuffer();
  }
  void Send() {
    if (!channel_.queue_.MaySubmit() || !TrySend()) channel_.queue_.Await(*this);
  }
  void OnOneEnded() {
    if (--under_way_ == 0) OnBothEnded();
  }
  void OnBothEnded();
  int SendRaw(const iovec& data);

  NvmeChannel& channel_;
  NvmeCommand::Line line_;
  Io* current_ = nullptr;
  Write write_{*this};
  int under_way_ = 0;
  nvme::Completion compare_end_{}, write_end_{};
};

NvmeChannel::NvmeChannel(BlockDevice& device, NvmeQueue& queue, const NvmeNamespaceFacts& facts,
                         BufferPool& buffers)
    : BlockChannel(device, queue.reactor()),
      queue_(queue),
      facts_(facts),
      buffers_(buffers),
      buffer_blocks_(static_cast<uint32_t>(buffers.buffer_bytes()) /
                     (facts.block_bytes + facts.separate_metadata_bytes)),
      buffer_line_(std::make_unique<BufferLine>(buffers)),
      pair_(std::make_unique<Pair>(*this)),
      errors_(facts.count_errors ? std::make_unique<NvmeErrorCounters>() : nullptr) {
  static_assert(sizeof(Io) <= IoRequest::kDeviceAreaBytes);
  CHECK(buffer_blocks_ > 0);
}

NvmeChannel::~NvmeChannel() = default;

// Reads and writes that need nothing special, in few instructions. False: Start() tells why not.
inline bool NvmeChannel::Io::TryStartPlain() {
  const NvmeNamespaceFacts& facts = channel_.facts_;
  NvmeQueue& queue = channel_.queue_;
  const bool read = request_.type == IoType::kRead;
  if (!read && request_.type != IoType::kWrite) return false;
  if (facts.protected_data || facts.separate_metadata_bytes > 0 || !queue.MaySubmit()) return false;
  pollux_nvme_io io{};
  io.lba = request_.lba;
  io.blocks = static_cast<uint32_t>(request_.blocks);
  io.flags = !read && request_.fua ? POLLUX_NVME_FUA : 0;
  io.data = request_.data.data();
  io.data_count = static_cast<uint32_t>(request_.data.size());
  const int error = read ? pollux_nvme_readv(queue.c(), facts.ns, this, &io)
                         : pollux_nvme_writev(queue.c(), facts.ns, this, &io);
  if (error != 0) return false;
  state_ = State::kInFlight;
  queue.RingLater();
  return true;
}

void NvmeChannel::DoSubmit(IoRequest& request) {
  Io& io = *new (request.device_area) Io(*this, request);
  if (!io.TryStartPlain()) [[unlikely]]
    io.Start();
}

bool NvmeChannel::TryAbort(IoRequest& target) { return Io::Of(target).Abort(); }

void NvmeChannel::CountError(uint16_t status) {
  if (errors_ == nullptr) return;
  const size_t type = status >> 8 & 7;
  const auto count = [](std::atomic<uint32_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  count(errors_->by_type[type]);
  if (type < errors_->by_code.size()) count(errors_->by_code[type][status & 0xff]);
}

void NvmeChannel::Io::Start() {
  if (request_.type == IoType::kCompareAndWrite) return channel_.pair_->Join(*this);
  Send();
}

void NvmeChannel::Io::Send() {
  if (channel_.queue_.MaySubmit() && TrySend()) [[likely]]
    return;
  state_ = State::kInLine;
  channel_.queue_.Await(*this);
}

bool NvmeChannel::Io::TrySend() {
  const int error = Submit();
  if (error == 0) [[likely]] {
    state_ = State::kInFlight;
    channel_.queue_.RingLater();
    return true;
  }
  if (error == -EAGAIN && !channel_.queue_.refusing()) return false;
  // Memory that the device cannot reach, a list that it cannot take.
  if (buffer_ == nullptr && MovesData() && (error == -EFAULT || error == -E2BIG)) {
    AwaitBuffer();
    return true;
  }
  End(finding_ ? IoStatus::kMiscompare : IoStatusOfSubmission(error));
  return true;
}

int NvmeChannel::Io::Submit() {
  NvmeQueue& queue = channel_.queue_;
  const pollux_nvme_namespace* ns = channel_.facts_.ns;
  switch (request_.type) {
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kCompare:
    case IoType::kCompareAndWrite:  // Looking for the place of a difference.
      return SubmitData();
    case IoType::kFlush:
      return pollux_nvme_flush(queue.c(), ns, this);
    case IoType::kUnmap:
      return flushing_ ? pollux_nvme_flush(queue.c(), ns, this) : SubmitUnmap();
    case IoType::kWriteZeroes: {
      pollux_nvme_io io{};
      io.lba = request_.lba;
      io.blocks = static_cast<uint32_t>(request_.blocks);
      io.flags = request_.fua ? POLLUX_NVME_FUA : 0;
      if (channel_.facts_.protected_data) io.flags |= POLLUX_NVME_PRACT;
      io.reference_tag = static_cast<uint32_t>(io.lba);
      return pollux_nvme_write_zeroes(queue.c(), ns, this, &io);
    }
    case IoType::kReset:
    case IoType::kAbort:
      break;
  }
  CHECK(false, "the block layer executes the rest");
  return -EINVAL;
}

int NvmeChannel::Io::SubmitData() {
  const NvmeNamespaceFacts& facts = channel_.facts_;
  pollux_nvme_queue* const queue = channel_.queue_.c();
  pollux_nvme_io io{};
  iovec piece;
  if (buffer_ == nullptr) [[likely]] {
    io.lba = request_.lba;
    io.blocks = static_cast<uint32_t>(request_.blocks);
    io.data = request_.data.data();
    io.data_count = static_cast<uint32_t>(request_.data.size());
    io.metadata = request_.metadata;
  } else {
    piece = {buffer_, PieceBytes()};
    io.lba = request_.lba + done_;
    io.blocks = piece_;
    io.data = &piece;
    io.data_count = 1;
    if (request_.metadata != nullptr) io.metadata = BufferMetadata();
  }
  if (facts.protected_data || facts.separate_metadata_bytes > 0) [[unlikely]]
    SetProtection(io);
  if (Reads()) return pollux_nvme_readv(queue, facts.ns, this, &io);
  if (request_.type == IoType::kCompare) return pollux_nvme_comparev(queue, facts.ns, this, &io);
  if (request_.fua) io.flags |= POLLUX_NVME_FUA;
  return pollux_nvme_writev(queue, facts.ns, this, &io);
}

// Without metadata of the caller's the controller makes and takes the protection information, and
// the rest is of no account.
void NvmeChannel::Io::SetProtection(pollux_nvme_io& io) {
  const NvmeNamespaceFacts& facts = channel_.facts_;
  const bool apart = facts.separate_metadata_bytes > 0;
  const bool without = apart && io.metadata == nullptr;
  // None is transferred when all of it is protection information. NVM §5.2.2.
  if (without && !(facts.protected_data && facts.separate_metadata_bytes == 8)) {
    io.metadata = Reads() ? facts.metadata_sink : facts.metadata_zeroes;
  }
  if (!facts.protected_data) return;
  io.flags |= without ? uint32_t{POLLUX_NVME_PRACT} : facts.check_flags;
  io.reference_tag = static_cast<uint32_t>(io.lba);
}

int NvmeChannel::Io::SubmitUnmap() {
  const pollux_nvme_range range{request_.lba, static_cast<uint32_t>(request_.blocks)};
  return pollux_nvme_deallocate(channel_.queue_.c(), channel_.facts_.ns, this, &range, 1);
}

void NvmeChannel::Io::AwaitBuffer() {
  state_ = State::kAwaitsBuffer;
  channel_.buffer_line_->Join(*this);
}

void NvmeChannel::Io::OnBuffer(std::byte* buffer) {
  buffer_ = buffer;
  if (request_.type == IoType::kCompareAndWrite) return channel_.pair_->OnBuffer();
  NextPiece();
}

void NvmeChannel::Io::NextPiece() {
  piece_ =
      static_cast<uint32_t>(std::min<uint64_t>(request_.blocks - done_, channel_.buffer_blocks_));
  if (!Reads()) {
    Gather(request_.data, DoneBytes(), buffer_, PieceBytes());
    if (request_.metadata != nullptr) {
      memcpy(BufferMetadata(), RequestMetadata(), PieceMetadataBytes());
    }
  }
  Send();
}

void NvmeChannel::Io::OnComplete(nvme::Completion completion) {
  channel_.queue_.Ended(*this);
  if (!pollux_nvme_ok(completion)) [[unlikely]]
    return OnFailure(completion);
  if (buffer_ == nullptr && request_.type != IoType::kUnmap) [[likely]] {
    NvmeChannel& channel = channel_;
    IoRequest& request = request_;
    this->~Io();
    return channel.Complete(request, IoStatus::kSuccess);
  }
  OnSuccess();
}

void NvmeChannel::Io::OnSuccess() {
  if (finding_) return OnFound();
  if (request_.type == IoType::kUnmap) {
    // Dataset Management has no FUA.
    if (flushing_ || !request_.fua || !channel_.facts_.volatile_cache) {
      return End(IoStatus::kSuccess);
    }
    flushing_ = true;
    return Send();
  }
  if (Reads()) {
    Scatter(buffer_, request_.data, DoneBytes(), PieceBytes());
    if (request_.metadata != nullptr) {
      memcpy(RequestMetadata(), BufferMetadata(), PieceMetadataBytes());
    }
  }
  done_ += piece_;
  if (done_ == request_.blocks) return End(IoStatus::kSuccess);
  if (aborted_) return End(IoStatus::kAborted);
  NextPiece();
}

void NvmeChannel::Io::OnFailure(nvme::Completion completion) {
  channel_.CountError(completion.status);
  if (finding_) return End(IoStatus::kMiscompare);
  const IoStatus status = IoStatusOfNvme(completion.status);
  if (status == IoStatus::kMiscompare) return FindDifference();
  bool later = false;
  if (!TakeRetry(completion, later)) return End(aborted_ ? IoStatus::kAborted : status);
  state_ = State::kInLine;
  const uint32_t delay_ms = channel_.facts_.retry_delays_ms[completion.status >> 11 & 3];
  later ? channel_.queue_.AwaitLater(*this, delay_ms) : channel_.queue_.Await(*this);
}

// Whether it is sent once more, and not at once but after the delay that the controller asks for.
bool NvmeChannel::Io::TakeRetry(nvme::Completion completion, bool& later) {
  const int32_t retries_max = channel_.facts_.retries_max;
  if (aborted_ || !MayRetryNvme(completion)) return false;
  if (retries_max >= 0 && retries_ >= retries_max) return false;
  if (retries_ < std::numeric_limits<uint16_t>::max()) ++retries_;
  later = channel_.facts_.retry_delays_ms[completion.status >> 11 & 3] > 0;
  return true;
}

// The device does not say where the data differs.
void NvmeChannel::Io::FindDifference() {
  request_.miscompare_offset = 0;
  if (aborted_) return End(IoStatus::kMiscompare);
  finding_ = true;
  done_ = 0;
  buffer_ == nullptr ? AwaitBuffer() : NextPiece();
}

void NvmeChannel::Io::OnFound() {
  const size_t place = Difference(buffer_, Expected(), DoneBytes(), PieceBytes());
  if (place < PieceBytes()) {
    request_.miscompare_offset = DoneBytes() + place;
    return End(IoStatus::kMiscompare);
  }
  done_ += piece_;
  // It may have changed since: then there is no place to tell.
  if (done_ == request_.blocks || aborted_) return End(IoStatus::kMiscompare);
  NextPiece();
}

bool NvmeChannel::Io::Abort() {
  switch (state_) {
    case State::kAwaitsBuffer:
      channel_.buffer_line_->Leave(*this);
      break;
    case State::kAwaitsPair:
      channel_.pair_->Leave(*this);
      break;
    case State::kInLine:
      channel_.queue_.Leave(*this);
      break;
    case State::kInFlight:
      // It may yet be stopped, or not: it ends by itself and says which.
      aborted_ = true;
      if (request_.type != IoType::kCompareAndWrite) channel_.queue_.Abort(*this);
      return false;
    case State::kNew:
      return false;
  }
  End(IoStatus::kAborted);
  return true;
}

void NvmeChannel::Io::End(IoStatus status) {
  NvmeChannel& channel = channel_;
  IoRequest& request = request_;
  std::byte* const buffer = buffer_;
  if (request.type == IoType::kCompareAndWrite) channel.pair_->OnEnded(*this);
  this->~Io();
  channel.Complete(request, status);
  if (buffer != nullptr) channel.buffers_.Give(buffer);
}

bool NvmeChannel::Pair::TrySend() {
  pollux_nvme_queue* const queue = channel_.queue_.c();
  if (pollux_nvme_queue_room(queue) < 2 && !channel_.queue_.refusing()) return false;
  const IoRequest& request = current_->request();
  const size_t bytes = request.blocks * channel_.facts_.block_bytes;
  iovec piece{current_->buffer(), bytes};
  pollux_nvme_io io{};
  io.lba = request.lba;
  io.blocks = static_cast<uint32_t>(request.blocks);
  io.data = &piece;
  io.data_count = 1;
  io.flags = POLLUX_NVME_FUSED_FIRST;
  int error = pollux_nvme_comparev(queue, channel_.facts_.ns, this, &io);
  if (error == -EAGAIN && !channel_.queue_.refusing()) return false;
  if (error != 0) {
    current_->End(IoStatusOfSubmission(error));
    return true;
  }
  under_way_ = 1;
  piece.iov_base = current_->buffer() + bytes;
  io.flags = POLLUX_NVME_FUSED_SECOND;
  if (request.fua) io.flags |= POLLUX_NVME_FUA;
  error = pollux_nvme_writev(queue, channel_.facts_.ns, write_.c(), &io);
  // The namespace went away this moment. The queue takes nothing but the second command now, and
  // the device refuses both.
  if (error == -ENXIO) error = SendRaw(piece);
  if (error == 0) {
    ++under_way_;
  } else {
    write_end_ = {0, 0, kMissingFused};  // A reset has begun, which ends the compare.
  }
  channel_.queue_.RingLater();
  return true;
}

int NvmeChannel::Pair::SendRaw(const iovec& data) {
  const IoRequest& request = current_->request();
  pollux_nvme_command command{};
  command.opc = 0x01;   // Write.
  command.fuse = 0x02;  // The second.
  command.nsid = pollux_nvme_get_namespace_info(channel_.facts_.ns)->nsid;
  command.cdw10 = static_cast<uint32_t>(request.lba);
  command.cdw11 = static_cast<uint32_t>(request.lba >> 32);
  command.cdw12 = static_cast<uint32_t>(request.blocks - 1);
  return pollux_nvme_io_command(channel_.queue_.c(), write_.c(), &command, &data, 1, nullptr, 0);
}

void NvmeChannel::Pair::OnBothEnded() {
  Io& io = *current_;
  // The end of the compare decides: the write then says only that it was not executed.
  const nvme::Completion end = pollux_nvme_ok(compare_end_) ? write_end_ : compare_end_;
  if (pollux_nvme_ok(end)) return io.End(IoStatus::kSuccess);
  channel_.CountError(end.status);
  const IoStatus status = IoStatusOfNvme(end.status);
  if (status == IoStatus::kMiscompare) return io.FindDifference();
  // A second time, a write that was executed would be taken for a difference.
  bool later = false;
  if (MayHaveBeenExecuted(compare_end_.status) || MayHaveBeenExecuted(write_end_.status) ||
      !io.TakeRetry(end, later)) {
    return io.End(status);
  }
  const uint32_t delay_ms = channel_.facts_.retry_delays_ms[end.status >> 11 & 3];
  later ? channel_.queue_.AwaitLater(*this, delay_ms) : channel_.queue_.Await(*this);
}

}  // namespace pollux
