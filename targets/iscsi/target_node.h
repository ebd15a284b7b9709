#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/histogram.h"
#include "core/net/address.h"
#include "core/task.h"
#include "targets/iscsi/initiator_group.h"
#include "targets/iscsi/iscsi_target.h"
#include "targets/iscsi/portal_group.h"
#include "targets/scsi/target_device.h"

namespace pollux::iscsi {

// One target: a SCSI target device with a name, and who may use it through which portals.
// Control loop only.
class Node {
 public:
  Node(TargetNode description, DeviceRegistry& devices, scsi::ReservationStore* reservations);

  const std::string& name() const { return description_.name; }
  const TargetNode& description() const { return description_; }
  // With the LUNs as they are now.
  TargetNode Describe() const;
  scsi::TargetDevice& device() { return *device_; }
  const scsi::TargetDevice& device() const { return *device_; }

  // Whether a map leads from the portal group to an initiator group that has the initiator.
  bool Admits(int32_t pg_tag, std::string_view initiator, const SocketAddress& address,
              const InitiatorGroups& groups) const;

  // Where new logins through the portal group are sent; null when they are taken.
  const Portal* RedirectOf(int32_t pg_tag) const;

  // How long its commands take, by reactor. Empty: nobody wants to know.
  std::vector<std::unique_ptr<Histogram>> latencies;
  // Of `latencies`, where they are added to; null when they are not.
  Histogram* latencies_at(size_t reactor) {
    return latencies.empty() ? nullptr : latencies[reactor].get();
  }

  // It is about to go: nobody is admitted any more.
  bool removing = false;

 private:
  friend class TargetNodes;
  // The portal groups of the maps become the device's target port groups.
  void ShowPortGroups();
  TargetNode description_;  // `luns` is unused: the device has them.
  std::unique_ptr<scsi::TargetDevice> device_;
};

// Target nodes by name. Control loop only.
class TargetNodes {
 public:
  static constexpr size_t kLunsAtOnceMax = 64;
  static constexpr size_t kMapsMax = 256;
  static constexpr size_t kNodesMax = 4096;

  TargetNodes(DeviceRegistry& devices, const PortalGroups& portal_groups,
              const InitiatorGroups& initiator_groups, scsi::ReservationStore* reservations)
      : devices_(devices),
        portal_groups_(portal_groups),
        initiator_groups_(initiator_groups),
        reservations_(reservations) {}

  Task<Status> Create(TargetNode description, uint32_t queue_depth_max, bool luns_may_be_pending);
  Task<Result<int>> AddLun(std::string name, LunSpec lun, bool may_be_pending);
  Status AddMaps(const std::string& name, const std::vector<GroupMap>& maps);
  Status RemoveMaps(const std::string& name, const std::vector<GroupMap>& maps);
  Status SetRedirect(const std::string& name, int32_t pg_tag, std::optional<Portal> to);
  Task<Status> SetAccess(std::string name, PortalGroupAccess access);
  Status SetAuthentication(const std::string& name, Authentication authentication);
  // The groups go, and with them the maps that name them.
  void ForgetPortalGroup(int32_t tag);
  void ForgetInitiatorGroup(int32_t tag);

  // Removal in two steps, with the end of the node's sessions in between.
  Result<Node*> BeginRemoval(const std::string& name);
  Task<void> FinishRemoval(Node* node);

  // Null when there is none, or it is being removed.
  Node* Find(std::string_view name);
  Result<Node*> FindOrFail(std::string_view name);
  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }

 private:
  Status CheckMaps(const std::vector<GroupMap>& maps, const std::vector<GroupMap>& there) const;
  Status CheckRedirect(int32_t pg_tag, const Portal& to) const;

  DeviceRegistry& devices_;
  const PortalGroups& portal_groups_;
  const InitiatorGroups& initiator_groups_;
  scsi::ReservationStore* const reservations_;
  std::vector<std::unique_ptr<Node>> nodes_;  // In order of creation.
};

}  // namespace pollux::iscsi
