#pragma once
#include <array>
#include <memory>

#include "targets/scsi/copy_results.h"
#include "targets/scsi/device_view.h"
#include "targets/scsi/execution.h"
#include "targets/scsi/target_port_group.h"
#include "targets/scsi/transport_id.h"

namespace pollux::scsi {

struct Nexus::Impl {
  Impl(DeviceView& device_view, BufferPool& pool, Identity who)
      : view(device_view),
        buffers(pool),
        identity(std::move(who)),
        name{CanonicalPort(identity.initiator_port), identity.relative_target_port},
        nexus_number(device_view.NextNexusNumber()) {}

  DeviceView& view;
  BufferPool& buffers;
  const Identity identity;
  const NexusName name;         // As reservations know it, beyond its lifetime.
  const uint64_t nexus_number;  // Its own, for its lifetime.

  IntrusiveList<Execution, &Execution::node_> in_flight;
  std::array<UnitAttentions, kLunsMax> unit_attentions;
  // What it is to the reservations of each LUN, as they are shown on this reactor.
  std::array<ReservationRole, kLunsMax> roles{};
  CopyResults copy_results;
  // Of the target port group through which it came, as shown on this reactor.
  AccessState access = AccessState::kOptimized;

  // Task management that outlives the nexus finds `alive` false, and tells nobody.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);

  void Start(Command& command);
  Task<void> Manage(TaskFunction function, uint64_t lun, Command* task,
                    std::function<void(TaskFunctionResult)> done);
  // Ends the commands of a LUN, or of all (DeviceView::kAll).
  void AbortAll(int number, Execution::Early why, bool transport_let_go);
  // SAM-5 §4.7, for the addressing methods that we report. -1: no LUN of ours.
  static int DecodeLun(uint64_t lun);
};

}  // namespace pollux::scsi
