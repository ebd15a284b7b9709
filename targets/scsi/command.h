#pragma once
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux::scsi {

class Nexus;

// SAM-5 §5.3.1.
enum class ScsiStatus : uint8_t {
  kGood = 0x00,
  kCheckCondition = 0x02,
  kBusy = 0x08,
  kReservationConflict = 0x18,
  kTaskSetFull = 0x28,
  kTaskAborted = 0x40,
};

// SAM-5 §8.6.
enum class TaskAttribute : uint8_t { kSimple, kOrdered, kHeadOfQueue, kAca };

// One SCSI command from its arrival to its status. The transport derives from it and embeds it in
// its own task, so that nothing is allocated per command; it lives, unmoved, from Nexus::Start
// until its end. Used on the reactor of the nexus only.
//
// Data moves in bursts, each as large as one pool buffer or one loan of the device, so that memory
// is bounded whatever the transfer length:
//
//   Start --+--> OnDataOutWanted --DataOutArrived()--> (again, or on) --+
//           +--> OnDataIn(last = false) --DataInSent()--> (again) ------+--> OnStatus
//           |                                                           |
//           +--> OnDataIn(last = true) --DataInSent()--> ended GOOD     |
//           +-----------------------------------------------------------+
//
// None of the On... runs from within Start, DataOutArrived or DataInSent: they come in a later
// stage.
class Command {
 public:
  static constexpr size_t kCdbBytesMax = 16;
  static constexpr size_t kSenseBytesMax = 96;
  static constexpr size_t kPartsMax = 4;

  // --- Set by the transport before Start.
  uint64_t lun = 0;  // The eight bytes of SAM-5 §4.7, most significant first.
  std::array<uint8_t, kCdbBytesMax> cdb{};
  TaskAttribute attribute = TaskAttribute::kSimple;
  // How many bytes the initiator can take or will send: iSCSI's Expected Data Transfer Length. No
  // more than that is asked for or delivered; the rest is the residual.
  uint32_t data_in_max = 0;
  uint32_t data_out_max = 0;

  // --- The outcome, valid in OnStatus and in OnDataIn(last = true).
  ScsiStatus status = ScsiStatus::kGood;
  std::array<uint8_t, kSenseBytesMax> sense{};
  size_t sense_bytes = 0;  // 0 unless kCheckCondition.
  // What the command would have moved, had the initiator's maximum allowed it: the transport
  // computes overflow (larger than the maximum) and underflow (smaller) from it.
  uint64_t data_bytes = 0;

  // --- Upcalls to the transport, on the nexus's reactor.

  // Bytes [offset, offset + length of parts) of the data-out buffer are wanted, in `parts`, which
  // stay until DataOutArrived() or Abort. Bursts are asked for in order.
  virtual void OnDataOutWanted(uint64_t offset, std::span<const iovec> parts) = 0;
  // The next bytes of the data-in buffer. The parts stay until DataInSent().
  // With `last` the command has ended with GOOD, and is free once DataInSent() was called.
  virtual void OnDataIn(uint64_t offset, std::span<const iovec> parts, bool last) = 0;
  // The command has ended, and is free from here on.
  virtual void OnStatus() = 0;
  // The command is to end early, since its device goes or another nexus reset the logical unit, but
  // the transport has its parts. The transport may let go of them and call Nexus::Abort; one that
  // does nothing goes on as usual, and the command ends at DataOutArrived or DataInSent.
  virtual void OnEndWanted() {}

  // --- Downcalls of the transport.
  void DataOutArrived();
  void DataInSent();

 protected:
  Command();
  ~Command();

 private:
  friend class Execution;
  // What executes it: made with the command, in place (execution.h).
  static constexpr size_t kExecutionBytes = 832;
  alignas(16) std::byte execution_[kExecutionBytes];
};

}  // namespace pollux::scsi
