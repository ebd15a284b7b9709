#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/block/latency_histogram.h"
#include "core/clock.h"
#include "core/host_observer.h"
#include "core/memory/memory.h"
#include "core/net/byte_stream.h"
#include "core/reactors.h"
#include "core/status.h"
#include "core/task.h"
#include "targets/scsi/reservation_store.h"
#include "targets/scsi/target_port_group.h"

// The iSCSI target as the control plane sees it: portal groups, initiator groups, target nodes, and
// what is connected. RFC 7143. The words and limits are those of SPDK's iscsi_* methods. Control
// loop only; errors name the field.

namespace pollux::iscsi {

// Who must prove to be who, and by which secrets. Neither disable nor require: the initiator has
// the choice, where there is a group.
struct Authentication {
  bool disable = false;
  bool require = false;
  bool mutual = false;  // The target proves itself too. Only with require.
  int32_t group = 0;    // The tag of an AuthGroup; 0 for none.
};
// A user of an initiator, and what the target answers one who wants it to prove itself too.
struct ChapSecret {
  std::string user;    // CHAP_N of RFC 7143 §12.1.3: 1 to 255 bytes.
  std::string secret;  // 1 to 1023 bytes.
  std::string muser;   // The same, of the target; both empty where it has none.
  std::string msecret;
};
struct AuthGroup {
  int32_t tag = 0;                  // From 1.
  std::vector<ChapSecret> secrets;  // Each user once.
};

// iscsi_set_options, with SPDK's defaults.
struct Options {
  // Of authentication groups, in the form of auth_file.h. Read at start.
  std::optional<std::string> auth_file;
  std::string node_base = "iqn.2016-06.io.spdk";
  int32_t nop_timeout_s = 60;
  int32_t nop_in_interval_s = 30;  // At most 60.
  Authentication discovery;        // Where the portal group has none of its own.
  uint32_t max_sessions = 128;
  uint32_t max_queue_depth = 64;
  uint32_t max_connections_per_session = 2;
  uint32_t default_time2wait_s = 2;
  uint32_t default_time2retain_s = 20;
  uint32_t first_burst_length = 8192;
  bool immediate_data = true;
  uint32_t error_recovery_level = 0;
  bool allow_duplicated_isid = false;
  uint32_t max_large_datain_per_connection = 64;
  uint32_t max_r2t_per_connection = 4;
  // Without effect: each task and connection has its PDUs.
  uint32_t pdu_pool_size = 0;
  // Buffers for data that comes unasked, of all reactors; ordinary memory that is resident only
  // once it was used. 0: 128 * max_sessions, and never more than all command windows need.
  uint32_t immediate_data_pool_size = 0;
  // Data buffers of 64 KiB, of all reactors. 0: 16 * max_sessions, at most 512 a reactor.
  uint32_t data_out_pool_size = 0;
};
Status Validate(const Options& options);
// What the target needs of the DMA memory, per reactor; a line each.
std::vector<MemoryNeed> MemoryNeeds(const Options& options, size_t reactors);

struct Portal {
  std::string host;  // Numeric: "127.0.0.1", "[::1]", "0.0.0.0", "[::]"; SPDK's "*" and "[*]" too.
  std::string port;  // "3260".
};
struct PortalGroup {
  int32_t tag = 0;  // 1 to 65535.
  std::vector<Portal> portals;
  bool is_private = false;  // Discovery through other groups does not show it.
  // Of discovery sessions. Absent: as the options have it.
  std::optional<Authentication> discovery;
  bool listening = false;  // False after create with wait, until started.
};
struct InitiatorGroup {
  int32_t tag = 0;                      // 1 to 65535.
  std::vector<std::string> initiators;  // "ANY", an iqn, or "!iqn" to exclude.
  std::vector<std::string> netmasks;    // "ANY", an address, or CIDR.
};
struct GroupMap {
  int32_t pg_tag = 0;
  int32_t ig_tag = 0;
  bool operator==(const GroupMap&) const = default;
};
// New logins through the portal group are sent on to another portal. RFC 7143 §11.13.5
struct Redirect {
  int32_t pg_tag = 0;
  Portal to;
};
// How the disks of a target are reached through a portal group (ALUA, SPC-4 §5.15.2).
struct PortalGroupAccess {
  int32_t pg_tag = 0;
  scsi::AccessState state = scsi::AccessState::kOptimized;
  bool preferred = false;
};
struct LunSpec {
  std::string bdev_name;
  std::optional<int32_t> lun_id;  // Absent: the lowest free one.
  bool read_only = false;
  bool removable = false;
};
struct TargetNode {
  std::string name;  // Whole iqn; what the caller gave without a prefix got node_base in front.
  std::string alias;
  std::vector<GroupMap> maps;
  std::vector<Redirect> redirects;          // At most one of a portal group.
  std::vector<PortalGroupAccess> accesses;  // At most one of a portal group. None: optimized.
  std::vector<LunSpec> luns;                // With lun_id, in the answers.
  int32_t queue_depth = 64;
  Authentication authentication;
  bool header_digest = false;
  bool data_digest = false;
  bool histogram = false;
};
struct ConnectionInfo {
  int32_t id = 0;
  int32_t cid = 0;
  int32_t tsih = 65535;
  std::string state;        // invalid, running, exiting, exited
  std::string login_phase;  // not_started, security_negotiation_phase,
                            // operational_negotiation_phase, full_feature_phase
  std::string initiator_address;
  std::string target_address;
  std::string target_node_name;  // The short name, without node_base and colon.
  std::string thread_name;       // Of the reactor.
};
struct ConnectionCounts {
  uint32_t invalid = 0, running = 0, exiting = 0, exited = 0;
};
// A LUN whose block device is missing.
struct PendingLun {
  std::string target;
  int lun;
  std::string bdev_name;
  std::string reason;
};

class IscsiTarget {
 public:
  struct Environment {
    Loop& control;
    Reactors& reactors;
    DeviceRegistry& devices;
    Memory& memory;
    StreamKind stream = StreamKind::kEpoll;
    // Of what outlives a restart; null: persistent reservations do not. Outlives the target.
    scsi::ReservationStore* reservations = nullptr;
    HostObserver* observer = nullptr;  // May be null.
  };

  explicit IscsiTarget(Environment environment);
  ~IscsiTarget();  // After Stop().

  // Takes the memory of MemoryNeeds and makes what each reactor has. Portals open when they are
  // made.
  Task<Status> Start(Options options);
  // New connections are refused; sessions are told (asynchronous logout request where they are in
  // full feature phase), drained for at most `drain_ns`, then closed.
  Task<void> Stop(uint64_t drain_ns);
  const Options& options() const;

  // While held, portal groups are made but do not listen: replay opens the listeners last.
  void HoldListeners();
  // Opens what was held; returns the groups that could not be opened, with the reason.
  struct Unopened {
    int32_t tag;
    Status why;
  };
  std::vector<Unopened> ReleaseListeners();

  // With `wait` the portals are not opened until StartPortalGroup.
  Status CreatePortalGroup(PortalGroup group, bool wait);
  Status StartPortalGroup(int32_t tag);
  // Maps of target nodes that name it go with it, as SPDK does; its connections are closed.
  Task<Status> DeletePortalGroup(int32_t tag);
  // Of discovery sessions through the group, from the next login on.
  Status SetPortalGroupAuthentication(int32_t tag, Authentication authentication);
  std::vector<PortalGroup> portal_groups() const;
  // The same, with the ports that the kernel chose where "0" was asked for.
  std::vector<PortalGroup> portal_groups_as_bound() const;

  Status CreateAuthGroup(AuthGroup group);
  Status AddSecret(int32_t tag, ChapSecret secret);
  Status RemoveSecret(int32_t tag, const std::string& user);
  Status DeleteAuthGroup(int32_t tag);
  std::vector<AuthGroup> auth_groups() const;
  // Of discovery sessions through portal groups that have no rule of their own.
  Status SetDiscoveryAuthentication(Authentication authentication);

  Status CreateInitiatorGroup(InitiatorGroup group);
  Status AddInitiators(int32_t tag, std::vector<std::string> initiators,
                       std::vector<std::string> netmasks);
  Status RemoveInitiators(int32_t tag, std::vector<std::string> initiators,
                          std::vector<std::string> netmasks);
  Task<Status> DeleteInitiatorGroup(int32_t tag);
  std::vector<InitiatorGroup> initiator_groups() const;

  // All or nothing. With `luns_may_be_pending` (replay) a missing block device is no error.
  // Returns the whole name.
  Task<Result<std::string>> CreateTargetNode(TargetNode node, bool luns_may_be_pending);
  Task<Result<int>> AddLun(std::string name, LunSpec lun, bool may_be_pending);
  Status AddMaps(const std::string& name, const std::vector<GroupMap>& maps);
  // Redirects of portal groups that no map names any more go too.
  Status RemoveMaps(const std::string& name, const std::vector<GroupMap>& maps);
  // Hosts hear of it. Done when no I/O runs any more through a portal group that takes none.
  Task<Status> SetAccess(std::string name, PortalGroupAccess access);
  // Without `to`: new logins are taken again.
  Status SetRedirect(const std::string& name, int32_t pg_tag, std::optional<Portal> to);
  // Of sessions with the node, from the next login on.
  Status SetAuthentication(const std::string& name, Authentication authentication);
  // Asks the initiators of the target, those that came through one portal group or all, to log out.
  // Who has not done so within kLogoutWithinNs is disconnected.
  static constexpr uint64_t kLogoutWithinNs = 30 * kNsPerSecond;
  Task<Status> RequestLogout(std::string name, std::optional<int32_t> pg_tag);
  // From now on it is kept how long the target's commands take, from the whole of the request's
  // header to the response's last byte; when it was kept before, it begins anew.
  Task<Status> EnableHistogram(std::string name, bool enable);
  // EFAULT when none is kept.
  Result<LatencyHistogram> HistogramOf(const std::string& name) const;
  Task<Status> DeleteTargetNode(std::string name);
  std::vector<TargetNode> target_nodes() const;
  // The whole name of a node that may be given by its short one, and in letters of either case: as
  // the node was made, when there is one.
  std::string FullName(const std::string& name) const;
  std::vector<PendingLun> pending_luns() const;

  Task<std::vector<ConnectionInfo>> Connections();
  Task<ConnectionCounts> CountConnections();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::iscsi
