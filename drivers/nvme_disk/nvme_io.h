#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "core/block/io_request.h"
#include "core/memory/buffer_pool.h"
#include "drivers/nvme_disk/nvme_channel.h"
#include "drivers/nvme_disk/nvme_queue.h"

namespace pollux {

// The life of a request:
//
//   kNew --+-------------------------------> kInFlight --+--> ended
//          +--> kAwaitsPair -+                 |  ^      +--> again, or the next piece
//          +-> kAwaitsBuffer-+-> kAwaitsLane -> kInLine  +--> kLost --> again
//
// Its path may be lost while it is in flight. What changes something then stays in kLost until it
// cannot be executed any more (NvmeChannel).
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
  // By the path that is the best now.
  void Send();
  bool Abort();
  // It was lost, and is executed no more.
  void OnSettled();
  bool TrySend() override;
  void OnComplete(nvme::Completion completion) override;

  void AwaitBuffer();
  void OnBuffer(std::byte* buffer);
  // For the pair: what the request is about, and how it goes on.
  IoRequest& request() { return request_; }
  std::byte* buffer() { return buffer_; }
  void AwaitPair() { state_ = State::kAwaitsPair; }
  void InPair() { state_ = State::kInFlight; }
  Lane& lane() { return *channel_.lanes_[lane_]; }
  // Whether it goes another way now, or waits: the lane that it had takes no I/O, or not this one.
  bool MoveAway();
  bool TakeRetry(nvme::Completion completion, bool& later);
  // It ends with `end` when it was settled; kSuccess: it is sent again.
  void Lose(IoStatus end);
  void FindDifference();
  void End(IoStatus status);

 private:
  static void OnEnded(pollux_nvme_request* request, nvme::Completion completion) {
    static_cast<Io*>(request)->Io::OnComplete(completion);
  }
  enum class State : uint8_t {
    kNew,
    kAwaitsBuffer,
    kAwaitsPair,
    kAwaitsLane,
    kInLine,
    kInFlight,
    kLost
  };

  bool MovesData() const {
    return request_.type == IoType::kRead || request_.type == IoType::kWrite ||
           request_.type == IoType::kCompare;
  }
  bool Changes() const {
    return request_.type != IoType::kRead && request_.type != IoType::kCompare &&
           request_.type != IoType::kFlush && !finding_ && !flushing_;
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
  bool TakeLane(const Lane* avoided);
  void SendByLane();
  int Submit();
  int SubmitData();
  int SubmitUnmap();
  void SetProtection(pollux_nvme_io& io);
  void NextPiece();
  void OnSuccess();
  void OnFailure(nvme::Completion completion);
  bool OnPathFailure(nvme::Completion completion);
  void OnFound();

  NvmeChannel& channel_;
  IoRequest& request_;
  std::byte* buffer_ = nullptr;  // Where data is bounced.
  uint32_t done_ = 0;            // Blocks, of a bounced request.
  uint32_t piece_ = 0;           // Blocks in the buffer.
  uint16_t retries_ = 0;
  State state_ = State::kNew;
  uint8_t lane_ = 0;
  IoStatus end_ = IoStatus::kSuccess;  // See Lose().
  bool aborted_ : 1 = false;           // Its end was asked for.
  bool flushing_ : 1 = false;          // The unmap is done, and what makes it durable is under way.
  bool finding_ : 1 = false;           // Looking for the place of a difference.
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

}  // namespace pollux
