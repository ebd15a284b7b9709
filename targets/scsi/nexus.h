#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/block/device_registry.h"
#include "core/memory/buffer_pool.h"
#include "targets/scsi/command.h"

namespace pollux::scsi {

class DeviceView;

// SAM-5 §7. The result is the transport's to translate.
enum class TaskFunction {
  kAbortTask,
  kAbortTaskSet,
  kClearTaskSet,
  kLogicalUnitReset,
  kTargetReset
};
enum class TaskFunctionResult { kComplete, kNoSuchLun, kNotSupported };

// One initiator port talking to one target device: an iSCSI session. It has the unit attentions
// that are its own (SAM-5 §5.14), and its commands in flight. Lives on one reactor.
class Nexus {
 public:
  struct Impl;
  struct Identity {
    std::string initiator_port;  // "iqn...,i,0x00023d000001", for reservations and logs.
    std::string target_port;     // "iqn...,t,0x0001", for VPD page 83h.
    uint16_t relative_target_port = 1;
    uint16_t target_port_group = 1;
  };

  // `view` and `buffers` (the data buffers of this reactor, of kBufferBytesMin at least) outlive
  // the nexus.
  static constexpr size_t kBufferBytesMin = 4096;
  Nexus(DeviceView& view, BufferPool& buffers, Identity identity);
  ~Nexus();  // CHECKs that no command is in flight.

  // Takes a command. Whatever is wrong with it comes back as its status.
  void Start(Command& command);
  // The command ends with TASK ABORTED as soon as the device allows; OnStatus follows in every
  // case, and the buffers that the transport was given stay until then. Aborting is also how a
  // transport answers OnEndWanted; the status is then that of the reason.
  void Abort(Command& command);
  void AbortAll();

  // `done` runs on this reactor, later, when every task concerned has ended; not at all when the
  // nexus is destroyed before. `task` is for kAbortTask, and null when no such task is known. Tasks
  // of this nexus end as by Abort; those of others get TASK ABORTED (the TAS bit is one).
  void Manage(TaskFunction function, uint64_t lun, Command* task,
              std::function<void(TaskFunctionResult)> done);

  size_t in_flight() const;
  const Identity& identity() const;

 private:
  friend class Execution;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::scsi
