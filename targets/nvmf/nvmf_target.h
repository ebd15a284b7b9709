#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/host_observer.h"
#include "core/memory/memory.h"
#include "core/net/byte_stream.h"
#include "core/reactors.h"
#include "core/spec/nvmf_spec.h"
#include "core/status.h"
#include "core/task.h"
#include "targets/nvmf/command_counters.h"
#include "targets/nvmf/transport.h"

// The NVMe-oF target as the control plane sees it: transports, subsystems with their namespaces,
// hosts and listeners, discovery, and what is connected. The words and limits are those of SPDK's
// nvmf_* methods. Control loop only; errors name the field.

namespace pollux::nvmf {

struct ListenAddress {
  std::string trtype = "TCP";
  std::string adrfam = "IPv4";  // IPv4, IPv6
  std::string traddr;           // Numeric.
  std::string trsvcid;          // A port; "" is 4420, and 8009 of the discovery subsystem.
  bool operator==(const ListenAddress&) const = default;
};

struct SubsystemSpec {
  std::string nqn;
  std::string serial_number = "00000000000000000000";
  std::string model_number = "Pollux NVMe-oF controller";
  std::string admin_label;
  uint32_t max_namespaces = 32;
  bool allow_any_host = false;
  bool ana_reporting = false;
  uint16_t min_cntlid = 1, max_cntlid = nvme::kCntlidMax;
  uint32_t dmrsl = 2097152;
  uint8_t wzsl = 12;
};
struct NamespaceSpec {
  uint32_t nsid = 0;  // 0: the lowest free one.
  std::string bdev_name;
  std::optional<std::array<uint8_t, 16>> nguid;  // Absent: from the disk's UUID.
  std::optional<std::array<uint8_t, 8>> eui64;
  std::optional<Uuid> uuid;  // Absent: the disk's.
  uint32_t anagrpid = 0;     // 0: the nsid.
  bool no_auto_visible = false;
  std::string ptpl_file;  // Kept for reservations, which come later.
  nvme::WriteProtection write_protection = nvme::WriteProtection::kNone;
};

struct ListenerInfo {
  ListenAddress address;
  bool secure_channel = false;
  nvme::AnaState ana_state = nvme::AnaState::kOptimized;  // As it was made.
  std::vector<nvme::AnaState> ana_states;                 // By group, from 1. Empty: no ANA.
  bool pending = false;                                   // The address could not be opened yet.
  std::string reason;
};
struct NamespaceInfo {
  NamespaceSpec spec;  // With nsid, identifiers and ANA group as they came out.
  std::vector<std::string> hosts;
  bool pending = false;  // Its disk is missing.
  std::string reason;
};
struct PendingNamespace {
  std::string nqn;
  uint32_t nsid = 0;
  std::string device_name;
  std::string reason;
};
struct SubsystemInfo {
  SubsystemSpec spec;
  bool discovery = false;
  std::vector<std::string> hosts;
  std::vector<ListenerInfo> listeners;
  std::vector<NamespaceInfo> namespaces;
};
struct ControllerInfo {
  uint16_t cntlid = 0;
  bool discovery = false;
  std::string hostnqn;
  std::string hostid;  // As a UUID.
  uint32_t io_queues = 0;
};
struct QueueInfo {
  uint16_t cntlid = 0, qid = 0;
  std::string state;  // uninitialized, connecting, enabled, deactivating, error
  std::string thread;
  std::string hostnqn;
  ListenAddress listen_address, peer_address;
};
struct PollGroupInfo {
  std::string name;                          // "nvmf_tgt_poll_group_000"
  uint32_t admin_qpairs = 0, io_qpairs = 0;  // Since the start.
  uint32_t current_admin_qpairs = 0, current_io_qpairs = 0, current_unassociated_qpairs = 0;
  uint64_t pending_bdev_io = 0, completed_nvme_io = 0;
};
// What the commands of I/O queues came to.
struct SubsystemStatistics {
  std::string nqn;
  // Since the namespace was added,
  struct OfNamespace {
    uint32_t nsid = 0;
    std::string bdev_name;
    CommandTotals totals;
  };
  // and since the host came first; those that are not there are remembered for a while.
  struct OfHost {
    std::string hostnqn;
    uint32_t controllers = 0;  // Now.
    CommandTotals totals;
  };
  std::vector<OfNamespace> namespaces;
  std::vector<OfHost> hosts;
};
struct Referral {
  ListenAddress address;
  std::string subnqn = nvme::kDiscoveryNqn;
  bool secure_channel = false;
};

// nvmf_set_config, nvmf_set_max_subsystems, nvmf_set_crdt.
struct TargetOptions {
  // What the discovery log leaves out: what differs in these from the address that is asked.
  bool filter_transport = false, filter_address = false, filter_svcid = false;
  // The cores whose reactors carry queues; empty: all.
  std::vector<int> poll_group_cores;
  // A host has at most one controller of a subsystem through one listener.
  bool restrict_duplicate_hosts = false;
  uint32_t max_subsystems = 1024;
  uint16_t crdt1 = 0, crdt2 = 0, crdt3 = 0;
  // Data buffers of each reactor.
  uint32_t small_buffers = 1024;  // 8 KiB each.
  uint32_t large_buffers = 64;    // 128 KiB each.
};
// What the target needs of the DMA memory, per reactor; a line each.
std::vector<MemoryNeed> MemoryNeeds(const TargetOptions& options, size_t reactors);

class NvmfTarget {
 public:
  // Whoever keeps the configuration over a restart. What the control plane asks for, it keeps by
  // itself; what hosts change, it hears of here.
  class Keeper {
   public:
    // The write protection of a namespace has changed. The host waits for the end of it, and the
    // end of the host may be waited for by whoever holds a turn: so this must wait for no turn.
    virtual Task<Status> KeepNamespace(std::string nqn, uint32_t nsid) = 0;

   protected:
    ~Keeper() = default;
  };

  struct Environment {
    Loop& control;
    Reactors& reactors;
    DeviceRegistry& devices;
    Memory& memory;
    StreamKind stream = StreamKind::kEpoll;
    Keeper* keeper = nullptr;          // May be null.
    HostObserver* observer = nullptr;  // The same.
  };
  explicit NvmfTarget(Environment environment);
  ~NvmfTarget();  // After Stop().

  // Takes the memory, makes what each reactor has, and the discovery subsystem.
  Task<Status> Start(TargetOptions options);
  // New connections are refused; controllers drain for at most `drain_ns`, then close.
  Task<void> Stop(uint64_t drain_ns);

  // While held, listeners are made but not opened: replay opens them last.
  void HoldListeners();
  struct Unopened {
    std::string nqn;
    ListenAddress address;
    Status why;
  };
  Task<std::vector<Unopened>> ReleaseListeners();

  // A transport is made outside, since the target knows none, with transport_host().
  Transport::Host& transport_host();
  // EEXIST: there is one of this trtype.
  Status AddTransport(std::unique_ptr<Transport> transport);
  std::vector<const TransportOptions*> transports() const;

  Task<Status> CreateSubsystem(SubsystemSpec spec);
  // Its controllers end first. ENOENT: none; EPERM: the discovery subsystem.
  Task<Status> DeleteSubsystem(std::string nqn);
  // In the order in which they were made, the discovery subsystem first.
  std::vector<SubsystemInfo> subsystems() const;
  // ENOENT: there is no such subsystem, or namespace.
  Result<SubsystemInfo> FindSubsystem(const std::string& nqn) const;
  Result<NamespaceInfo> FindNamespace(const std::string& nqn, uint32_t nsid) const;
  std::vector<PendingNamespace> pending_namespaces() const;

  // The address in the one spelling in which it is kept; a port that is left out is the subsystem's
  // (or, of a referral, the discovery subsystem's) default.
  static Result<ListenAddress> Spell(const std::string& nqn, const ListenAddress& address);
  // Opens the address, or uses it with the other subsystems that have it. Answers it with the port
  // that the kernel chose where "0" was asked for. EEXIST: the subsystem has it already; with
  // `retry`, one of those that could not be opened is tried again.
  Task<Result<ListenAddress>> AddListener(std::string nqn, ListenAddress address,
                                          nvme::AnaState state, bool secure_channel, bool retry);
  // Controllers that came through it end.
  Task<Status> RemoveListener(std::string nqn, ListenAddress address);
  // `group` 0: all of them, in one change. Hosts hear of it.
  Task<Status> SetAnaState(std::string nqn, ListenAddress address, nvme::AnaState state,
                           uint32_t group);

  // With `may_be_pending` a missing disk is no error. Returns the nsid.
  Task<Result<uint32_t>> AddNamespace(std::string nqn, NamespaceSpec spec, bool may_be_pending);
  Task<Status> RemoveNamespace(std::string nqn, uint32_t nsid);
  Task<Status> SetAnaGroup(std::string nqn, uint32_t nsid, uint32_t group);
  Task<Status> AddNamespaceHost(std::string nqn, uint32_t nsid, std::string hostnqn);
  Task<Status> RemoveNamespaceHost(std::string nqn, uint32_t nsid, std::string hostnqn);

  Task<Status> AddHost(std::string nqn, std::string hostnqn);
  // Its controllers end, within `timeout_ms` by themselves, then they are cut off.
  Task<Status> RemoveHost(std::string nqn, std::string hostnqn, uint64_t timeout_ms);
  Task<Status> AllowAnyHost(std::string nqn, bool allow);

  Status AddReferral(Referral referral);
  Status RemoveReferral(ListenAddress address, std::string subnqn);
  std::vector<Referral> referrals() const;

  Task<Result<std::vector<ControllerInfo>>> Controllers(std::string nqn);
  Task<Result<std::vector<QueueInfo>>> Queues(std::string nqn);
  Task<std::vector<PollGroupInfo>> PollGroups();
  // Of all subsystems but the discovery subsystem, or of one. ENOENT: there is no such subsystem.
  Result<std::vector<SubsystemStatistics>> Statistics(const std::string& nqn) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::nvmf
