#pragma once
#include <array>
#include <cstdint>
#include <new>
#include <span>
#include <string>

#include "core/block/block_channel.h"
#include "core/block/stoppable_io.h"
#include "core/memory/buffer_pool.h"
#include "targets/nvmf/command.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/subsystem_view.h"

namespace pollux::nvmf {

// A command being executed: the controller's side of it, which lies inside the Command. A handler
// is a chain of steps; each ends by waiting for one thing, naming the step to go on with, or by
// ending the command. What it does last is that call, since the command may be gone after it.
//
//            +------ the next step ------+
//            v                           |
//   kIdle -> kRunning --+--> kAwaitBuffer ---+    a buffer of the pool
//     ^                 +--> kAwaitData -----+    the host's data
//     |                 +--> kAwaitSent -----+    that data for the host was sent
//     |                 +--> kAwaitIo -------+    the disk
//     |                 +--> kAwaitOther ----+    whoever the handler gave it to
//     |                 +--> kAwaitFused ----+    the other half of a fused pair
//     +--- the end -----+
//
// It holds one buffer of a pool, or one loan of the disk, at a time: so a pool of one buffer is
// enough for everybody to get on.
class Execution final : public Deferred, private BufferPool::Waiter {
 public:
  using Step = void (*)(Execution&);

  explicit Execution(Command& command) : io(*this), command_(command) {}
  ~Execution();
  static Execution& Of(Command& command) {
    return *std::launder(reinterpret_cast<Execution*>(command.execution_area));
  }

  // --- What a step sees.
  Command& command() { return command_; }
  Queue& queue() { return *command_.queue_; }
  const nvme::SubmissionEntry& entry() const { return command_.entry; }
  // Whom the handler gave the command to, or anything else of its own.
  void* handlers_own = nullptr;

  // --- Ways to end. Statuses are SCT << 8 | SC, with DNR where a retry is of no use.
  void End(uint16_t status, uint32_t dw0 = 0, uint32_t dw1 = 0);
  // The field of the command that begins there is what is wrong with it, for the error log.
  void EndInvalidField(uint8_t byte, uint8_t bit = 0) {
    fault_at_ = LocationAt(byte, bit);
    End(nvme::status::kInvalidField | nvme::status::kDnrBit);
  }
  void EndSuccess(uint32_t dw0 = 0, uint32_t dw1 = 0) { End(nvme::status::kSuccess, dw0, dw1); }
  // The parameter data of an admin command, cut to what the host expects; kept until it was sent.
  void EndWithData(std::string data, uint32_t dw0 = 0);

  // --- Ways to wait.
  // Brings the host's first `bytes` of data to data(); ends the command with SGL Data Length
  // Invalid when it offers less, with Invalid Field when they are more than kParameterBytesMax.
  static constexpr uint32_t kParameterBytesMax = 8 * 1024;
  void FetchData(uint32_t bytes, Step next);
  std::span<const std::byte> data() const { return {buffer_, data_bytes_}; }

  // The handler awaits somebody else: the command stays in flight until one of the ends above is
  // called, on the queue's reactor. `on_abandon` runs when it is to end before (connection gone,
  // Abort), in a later stage: it must make sure that End() comes. Null: it comes anyway, soon.
  void Await(Step on_abandon);

  // --- For I/O commands.
  // What is left to move of a command that moves blocks.
  struct Transfer {
    uint64_t lba = 0;           // The next block.
    uint32_t blocks = 0;        // From there on.
    uint32_t offset = 0;        // Of the next byte in the host's data.
    uint32_t burst_blocks = 0;  // The burst under way.
    uint32_t item = 0;          // Of a list of ranges: the one under way,
    uint32_t item_blocks = 0;   // and what of it is done.
    bool fua = false;
  };
  Transfer transfer;
  // The namespace it uses, and whose departure waits for it.
  NamespaceView* ns() { return ns_; }
  const NamespaceFacts& facts() { return *ns_->facts; }
  BlockChannel& channel() { return *ns_->channel; }
  void Use(NamespaceView& ns) {
    ns_ = &ns;
    ++ns.in_flight;
  }
  void LetGoOfNamespace() {
    NamespaceView& ns = *ns_;
    ns_ = nullptr;
    --ns.in_flight;
    if (ns.leaving) [[unlikely]] {
      view().OnLeavingCommandEnded();
    }
  }
  // Of an I/O queue.
  SubsystemView& view() { return *queue().view_; }
  const std::string& hostnqn() { return queue().identity_->hostnqn; }
  // Of the namespace's group, as this queue's listener has it.
  nvme::AnaState ana_state() {
    const ListenerView* const listener = queue().listener_;
    return listener == nullptr ? nvme::AnaState::kInaccessible
                               : listener->StateOf(facts().anagrpid);
  }

  // A buffer for `bytes`, or as much as the large ones hold. One that is held already stays.
  void TakeBuffer(size_t bytes, Step next);
  std::byte* buffer() { return buffer_; }
  size_t buffer_bytes() const { return pool_->buffer_bytes(); }
  // `parts`, not only what they name, stay until `next`: the transport keeps the list.
  void WantData(uint32_t offset, std::span<const iovec> parts, Step next);
  // In one piece. The list is this command's.
  void WantData(uint32_t offset, std::byte* place, size_t bytes, Step next) {
    parts[0] = {place, bytes};
    WantData(offset, {parts.data(), 1}, next);
  }
  // With `last` the command ends with success when the data was sent, and `next` does not run.
  void SendData(uint32_t offset, std::span<const iovec> parts, bool last, Step next);
  // `io` is filled in. Its outcome is in io.status.
  void Submit(Step next);
  struct Io final : StoppableIo {
    explicit Io(Execution& execution) : owner(execution) { source = IoSource::kNvmf; }
    void OnComplete() override {
      if (Ended()) owner.OnIoEnded();
    }
    void OnStopped() override { owner.OnIoEnded(); }
    Execution& owner;
  } io;
  // With the buffer, from `at` on, as the data.
  void SubmitBuffer(IoType type, uint64_t lba, uint64_t blocks, Step next, size_t at = 0);
  // A request without data.
  void SubmitRange(IoType type, uint64_t lba, uint64_t blocks, Step next);
  std::array<iovec, 2> parts{};  // Of the I/O under way, or of the data.
  Loan loan{.source = IoSource::kNvmf};
  void ReturnLoan() {
    channel().Return(loan);  // Which empties it.
  }

  // It, or its other half, waits for the host or the network.
  bool AwaitsHost() const {
    const State state =
        other_half_ != nullptr && state_ == State::kAwaitFused ? other_half_->state_ : state_;
    return state == State::kAwaitData || state == State::kAwaitSent;
  }

  // What the command counts as when it succeeds.
  void CountAs(CommandKind kind) { kind_ = kind; }

  // --- A fused pair. One half is active at a time: it waits for one of the things above, or takes
  // a step. The other is passive, and ends when the active one does.
  // The first half, until the next command comes. Queue holds it.
  void AwaitSecondHalf() { state_ = State::kAwaitFused; }
  // On the first half, which becomes active: `second` is its passive other.
  void Join(Execution& second);
  Execution* other_half() { return other_half_; }
  // The other half takes the next step, as the active one.
  void PassTo(Step next);
  // Ends both. On either.
  void EndPair(uint16_t own_status, uint16_t other_status);

 private:
  friend class Command;
  friend class Queue;
  friend class SubsystemView;
  enum class State : uint8_t {
    kIdle,
    kRunning,
    kAwaitBuffer,
    kAwaitData,
    kAwaitSent,
    kAwaitIo,
    kAwaitOther,
    kAwaitFused
  };
  // Why it ends before its time; a later one is graver.
  enum class Early : uint8_t { kNo, kOtherHalfEnded, kAborted, kNamespaceGone, kAbandoned };

  void Start(Queue& queue) {
    CHECK(state_ == State::kIdle, "a command was started twice");
    command_.queue_ = &queue;
    state_ = State::kRunning;
    early_ = Early::kNo;
    kind_ = CommandKind::kOther;
    answered_ = false;
    transfer.offset = 0;
  }
  void DataArrived();
  void DataDropped(uint16_t status);
  void DataSent();
  // `let_go`: the transport will not touch the parts that it was given.
  void EndEarly(Early why, bool let_go);

  void Later();
  void RunDeferred() override;
  void OnBuffer(std::byte* buffer) override;
  void OnIoEnded();
  void GoOn() {
    state_ = State::kRunning;
    next_(*this);
  }
  void EndNowEarly();
  uint16_t EarlyStatus() const;
  void EndAlone(uint16_t status, uint32_t dw0, uint32_t dw1);
  void Release();
  void ReleaseRare();

  Command& command_;
  NamespaceView* ns_ = nullptr;
  Step next_ = nullptr;
  BufferPool* pool_ = nullptr;
  std::byte* buffer_ = nullptr;
  Execution* other_half_ = nullptr;
  Step after_fetch_ = nullptr;
  uint32_t data_bytes_ = 0;
  uint32_t dw0_ = 0;  // Of the completion behind parameter data.
  State state_ = State::kIdle;
  Early early_ = Early::kNo;
  CommandKind kind_ = CommandKind::kOther;
  bool answered_ = false;  // The completion is with the transport.
  uint16_t fault_at_ = kNoLocation;
  std::string parameter_data_;
};
static_assert(sizeof(Execution) <= Command::kExecutionBytes);

}  // namespace pollux::nvmf
