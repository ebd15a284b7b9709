#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/task_group.h"
#include "targets/scsi/target_port_group.h"

namespace pollux::scsi {

class Nexus;
class ReservationStore;

// What one reactor knows of a target device: for each LUN the channel of its block device and what
// INQUIRY says of it, and the nexuses on this reactor, to whom changes bring unit attentions.
class DeviceView;

struct LunOptions {
  // Nobody writes through this LUN, though the block device could be written.
  bool read_only = false;
  // Its medium can be ejected and loaded by START STOP UNIT (RMB, SPC-4 §6.6.2).
  bool removable = false;
};

// A SCSI target device (SAM-5 §4.6.4): up to kLunsMax logical units by number, each a block device.
// Control loop only; what reactors need of it is in the views, one per reactor.
//
// A LUN names its block device. When that is missing or goes away the LUN stays configured as
// pending (commands get LOGICAL UNIT NOT SUPPORTED, hosts hear REPORTED LUNS DATA HAS CHANGED), and
// it comes to life by itself when a device of that name is registered.
class TargetDevice {
 public:
  static constexpr int kLunsMax = 256;

  struct Lun {
    int number;
    std::string device_name;
    bool pending;
    std::string reason;  // Why it is pending.
    LunOptions options;
  };

  // `name` is the SCSI device name, an iqn; identifiers (NAA) of LUNs come from the disks' UUIDs.
  // `reservations`, when there is one, outlives this: without it none outlive the process.
  TargetDevice(std::string name, DeviceRegistry& devices, ReservationStore* reservations = nullptr);
  ~TargetDevice();  // After Shutdown().

  // `number` absent: the lowest free one. With `may_be_pending` a missing block device is no error.
  // EEXIST: the number is taken. ENODEV: no such device. ENOSPC: no number is free.
  Task<Result<int>> AddLun(std::optional<int> number, std::string device_name, bool may_be_pending,
                           LunOptions options = {});
  // Its reservations are forgotten.
  Task<Status> RemoveLun(int number);
  // The target is deleted for good: reservations of all its LUNs are forgotten. Before Shutdown.
  Task<void> ForgetReservations();
  // What REPORT TARGET PORT GROUPS tells from now on: the groups through which nexuses come. Hosts
  // hear of it where there is something new.
  void SetPortGroups(TargetPortGroups groups);
  // Done when what was set is shown, and no command runs any more that its port does not take.
  Task<void> PortGroupsShown();
  // Aborts what is in flight and closes all devices. No nexus is left when it is called.
  Task<void> Shutdown();

  const std::string& name() const;
  std::vector<Lun> luns() const;
  DeviceView& view(size_t reactor_index);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::scsi
