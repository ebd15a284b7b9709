#pragma once
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "core/status.h"
#include "drivers/nvme/registers.h"

namespace pollux::nvme {

// What CAP and VS say, in our units.
struct Capabilities {
  uint32_t version = 0;              // VS; 1.0 where the device says nothing.
  uint32_t queue_entries_max = 0;    // Of an I/O queue.
  uint32_t doorbell_stride = 4;      // Bytes.
  uint32_t doorbell_queues_max = 0;  // Queue pairs whose doorbells lie in the BAR, admin included.
  uint32_t page_bytes = 4096;        // For CC.MPS: the smallest that the device can.
  uint64_t ready_timeout_ns = 0;     // To become ready, or not ready.
  bool nvm_command_set = false;
  bool io_command_sets = false;  // CC.CSS 110b.
  bool weighted_round_robin = false;
  bool controller_memory_buffer = false;

  // An error when nothing can be done with the device. NoDevice: it is gone.
  static Result<Capabilities> Read(Registers& registers);
  // The same without what only a PCI function has.
  static Result<Capabilities> Of(uint64_t cap, uint32_t vs);
  uint64_t DoorbellOffset(uint16_t queue, bool completion) const {
    return kDoorbells + (2u * queue + (completion ? 1u : 0u)) * uint64_t{doorbell_stride};
  }
};

// Makes a controller ready, not ready, or shut down. Base §3.5.1, §3.6, §3.7. It never waits: each
// Step() looks once, and each state has a time after which it has failed.
//
//                  Disable()                       Enable()
//   kUnknown ---> kSettling ---> kDisabling ---> kDisabled ---> kEnabling ---> kReady
//                                    ^                                           |
//                                    +---------- Disable() from anywhere --------+
//
//   kReady --ShutDown()--> kShuttingDown ---> kShutDown
//   kSettling .. kEnabling, kShuttingDown --too late, fatal, gone--> kFailed
//
// Settling: another driver may have enabled the device a moment ago; it must become ready before it
// may be disabled (§3.7.2 leaves undefined what happens else).
class BringUp {
 public:
  enum class State : uint8_t {
    kUnknown,
    kSettling,
    kDisabling,
    kDisabled,
    kEnabling,
    kReady,
    kShuttingDown,
    kShutDown,
    kFailed,
  };

  // The registers outlive it. `quirk_delay_ns`: how long the device is left alone after it was
  // disabled, before CSTS is read.
  explicit BringUp(Registers& registers) : registers_(registers) {}

  struct AdminRings {
    uint64_t sq_iova = 0, cq_iova = 0;
    uint16_t depth = 0;
  };

  // As Capabilities::Read() found it, before anything else.
  void SetTimes(uint64_t ready_timeout_ns, uint64_t quirk_delay_ns) {
    ready_timeout_ns_ = ready_timeout_ns;
    quirk_delay_ns_ = quirk_delay_ns;
  }
  void Disable(uint64_t now_ns);
  // From kDisabled. `configuration` is CC without EN.
  void Enable(const AdminRings& rings, uint32_t configuration, uint64_t now_ns);
  // From kReady. Base §3.6.1.
  void ShutDown(uint64_t limit_ns, uint64_t now_ns);
  State Step(uint64_t now_ns);

  State state() const { return state_; }
  bool waiting() const {
    return state_ == State::kSettling || state_ == State::kDisabling ||
           state_ == State::kEnabling || state_ == State::kShuttingDown;
  }
  // In kFailed.
  const Status& failure() const { return failure_; }

 private:
  void Enter(State next, uint64_t limit_ns, uint64_t now_ns);
  void ClearEnable(uint64_t now_ns);
  void Fail(Status failure);
  void StepSettling(uint32_t status, uint64_t now_ns);
  void StepDisabling(uint32_t status, uint64_t now_ns);
  void StepEnabling(uint32_t status, uint64_t now_ns);
  void StepShuttingDown(uint32_t status, uint64_t now_ns);

  Registers& registers_;
  uint64_t ready_timeout_ns_ = 0, quirk_delay_ns_ = 0;
  State state_ = State::kUnknown;
  uint64_t deadline_ns_ = 0;
  uint64_t quiet_until_ns_ = 0;
  Status failure_;
};

}  // namespace pollux::nvme
