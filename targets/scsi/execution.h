#pragma once
#include <array>
#include <cstring>
#include <span>

#include "core/block/block_channel.h"
#include "core/block/stoppable_io.h"
#include "core/memory/buffer_pool.h"
#include "targets/scsi/device_view.h"
#include "targets/scsi/nexus.h"
#include "targets/scsi/sense.h"

namespace pollux::scsi {

class ParameterData;
struct CommandInfo;
class CopyResults;
class UnitChange;
struct Copy;

// A command being executed: the device server's side of it, which lies inside the Command. A
// command's handler (command_table.h) is a chain of steps. Each step ends by waiting for one thing,
// naming the step to go on with, or by ending the command; what it does last is that call.
//
//            +------ the next step ------+
//            v                           |
//   kIdle -> kRunning --+--> kAwaitBuffer ---+
//     ^                 +--> kAwaitDataOut --+
//     |                 +--> kAwaitDataIn ---+
//     |                 +--> kAwaitIo -------+
//     |                 +--> kAwaitChange ---+
//     +--- the end -----+
//
// The transport's downcalls run steps, but no upcall runs from within them: it is deferred
// (kRunning, and in the reactor's list). It holds one buffer of the pool or one loan at a time.
class Execution final : public Deferred, private BufferPool::Waiter {
 public:
  using Step = void (*)(Execution&);

  // What is left to move of a command that moves blocks.
  struct Transfer {
    uint64_t lba = 0;     // The next block.
    uint64_t blocks = 0;  // From there on, as the CDB has it.
    uint64_t offset = 0;  // In the data-in or data-out buffer.
    uint64_t bytes = 0;   // To be moved from there on, as far as the initiator's maximum goes.
    uint64_t burst_blocks = 0;  // The burst under way.
    uint64_t burst_blocks_max = UINT64_MAX;
    bool fua = false;
  };

  explicit Execution(Command& command);
  ~Execution();
  static Execution& Of(Command& command) {
    return *std::launder(reinterpret_cast<Execution*>(command.execution_));
  }

  // --- What a step sees.
  Command& command() { return command_; }
  std::span<const uint8_t, Command::kCdbBytesMax> cdb() const { return command_.cdb; }
  template <typename T>
  T Field(size_t offset) const {  // Of the CDB.
    T value;
    std::memcpy(&value, &command_.cdb[offset], sizeof(value));
    return value;
  }
  // Only commands that may be sent to a LUN that is not there can see null.
  LogicalUnit* unit() { return unit_; }
  const DiskFacts& disk() { return *unit_->disk; }
  uint64_t blocks() { return unit_->channel->blocks(); }
  uint32_t block_bytes() { return unit_->disk->block_bytes; }
  DeviceView& view();
  const Nexus::Identity& identity();
  UnitAttentions& unit_attentions();
  void ReportedLunsWereRead();
  bool descriptor_sense() const { return unit_ != nullptr && unit_->status.descriptor_sense; }
  std::byte* buffer() { return buffer_; }
  size_t buffer_bytes() const;
  BufferPool& buffers();
  Transfer transfer;

  // Whether reservations let the command run, now; the first time it is told which command it is.
  bool AdmitAs(const CommandInfo& info);
  bool Admitted() const;
  // The same of another unit, by flags of reservation_access.
  bool AdmittedTo(const LogicalUnit& unit, uint8_t access) const;
  // Whether the unit runs it, and the target port takes it, as they are now. Else: what it gets.
  bool UnitRunsIt() const;
  Sense NotReadySense() const;

  // --- Ways to end.
  void EndWithConflict();  // RESERVATION CONFLICT.
  void EndGood();
  void EndWithSense(const Sense& sense);
  void EndWithIo(IoStatus status, bool write);

  // --- Ways to wait.
  void TakeBuffer(Step next);  // One that is held already stays.
  void WantDataOut(uint64_t offset, std::span<const iovec> parts, Step next);
  // With `last` the command ends GOOD when the data was sent, and `next` does not run.
  void SendDataIn(uint64_t offset, std::span<const iovec> parts, bool last, Step next);
  // `io` is filled in but for the data. Its outcome is in io.status.
  void Submit(Step next);
  // For a change of what all nexuses share of the unit. Its outcome is in `change`.
  void Await(std::shared_ptr<UnitChange> wanted, Step next);
  std::shared_ptr<UnitChange> change;
  // Of EXTENDED COPY.
  std::shared_ptr<Copy> copy;
  CopyResults& copy_results();  // Of the nexus.
  struct Io final : StoppableIo {
    explicit Io(Execution& execution) : owner(execution) { source = IoSource::kIscsi; }
    void OnComplete() override {
      if (Ended()) owner.OnIoEnded();
    }
    void OnStopped() override { owner.OnIoEnded(); }
    Execution& owner;
  } io;
  // With the buffer, from `at` on, as the data; writes with transfer.fua.
  void SubmitBuffer(IoType type, uint64_t lba, uint64_t blocks, Step next, size_t at = 0);
  // The same on another unit of the device, or this one. What AdmittedTo says is the caller's.
  void SubmitBufferTo(LogicalUnit& unit, IoType type, uint64_t lba, uint64_t blocks, Step next);
  // A command without data.
  void SubmitRange(IoType type, uint64_t lba, uint64_t blocks, Step next);
  std::array<iovec, Command::kPartsMax> parts{};  // Of the upcall or the I/O under way.
  Loan loan{.source = IoSource::kIscsi};
  void ReturnLoan();

  // --- Parameter data and lists.
  // Ends the command with `data`, cut to the allocation length and to what the initiator takes.
  void SendParameterData(const ParameterData& data, uint64_t allocation_length);
  // Fetches a whole parameter list into the buffer. Ends the command when it does not fit, or
  // when the initiator has less.
  void FetchParameterList(uint32_t bytes, Step next);

 private:
  friend class Command;
  friend class Nexus;
  friend struct Nexus::Impl;
  friend class DeviceView;
  enum class State : uint8_t {
    kIdle,
    kRunning,
    kAwaitBuffer,
    kAwaitDataOut,
    kAwaitDataIn,
    kAwaitIo,
    kAwaitChange
  };
  // What a deferred execution is to do.
  enum class Todo : uint8_t { kStep, kDataOut, kDataIn, kStatus };
  // Why it ends before its time.
  enum class Early : uint8_t { kNo, kAborted, kUnitGone, kConflict, kNotReady };

  // Whether its I/O is on that LUN, though it was sent to another.
  bool VisitsWithIo(int number) const {
    return state_ == State::kAwaitIo && io_unit_ != unit_ && io_unit_->number == number;
  }

  void Start(Nexus::Impl& nexus, LogicalUnit* unit);
  void SubmitIo(LogicalUnit& unit, Step next);
  void DataOutArrived();
  void DataInSent();
  // `transport_let_go`: the transport will not touch the parts that it was given.
  void EndEarly(Early why, bool transport_let_go);

  void Later(Todo todo);
  void Upcall(Todo todo);
  void RunDeferred() override;
  void OnBuffer(std::byte* buffer) override;
  void OnIoEnded();
  static Task<void> RunChange(Execution* e, std::shared_ptr<UnitChange> change);
  void GoOn();
  void EndNowEarly();
  void Finish();
  void EndCopyEarly();

  Command& command_;
  Nexus::Impl* nexus_ = nullptr;
  LogicalUnit* unit_ = nullptr;
  LogicalUnit* io_unit_ = nullptr;  // Where its I/O is, in kAwaitIo.
  ListNode node_;                   // Of the nexus's commands in flight.
  const CommandInfo* info_ = nullptr;
  uint64_t sequence_ = 0;
  Step next_ = nullptr;
  std::byte* buffer_ = nullptr;
  uint64_t data_offset_ = 0;
  uint8_t part_count_ = 0;
  State state_ = State::kIdle;
  Todo todo_ = Todo::kStep;
  Early early_ = Early::kNo;
  bool last_ = false;
  bool in_downcall_ = false;
};
static_assert(sizeof(Execution) <= 832);

}  // namespace pollux::scsi
