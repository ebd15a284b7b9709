#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/task_group.h"
#include "core/turn.h"
#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/views.h"

namespace pollux::nvmf {

inline constexpr uint32_t kNamespacesMax = 8192;  // Of a subsystem.
inline constexpr size_t kNamespaceHostsMax = 1024;

// The namespaces of a subsystem by nsid, each a block device. Control loop only; what reactors need
// of them is in the views.
//
// A namespace names its block device. When that is missing or goes away, the namespace stays
// configured as pending (commands get Invalid Namespace or Format, hosts hear of the change), and
// it comes to life by itself when a device of that name is registered.
//
// Changes take one turn at a time: a device that goes while its namespace is being attached waits
// until it is, and the other way round.
class Namespaces {
 public:
  // `turn` is the subsystem's.
  Namespaces(const std::string& nqn, uint32_t namespaces_max, DeviceRegistry& devices,
             const Views& views, Turn& turn);
  ~Namespaces();  // After Shutdown().

  // See NvmfTarget.
  Task<Result<uint32_t>> Add(NamespaceSpec spec, bool may_be_pending);
  Task<Status> Remove(uint32_t nsid);
  // Answers the group that it was in.
  Task<Result<uint32_t>> SetAnaGroup(uint32_t nsid, uint32_t group);
  Task<Status> AddHost(uint32_t nsid, std::string hostnqn);
  Task<Status> RemoveHost(uint32_t nsid, std::string hostnqn);
  // A status of NVMe.
  Task<uint16_t> SetWriteProtection(uint32_t nsid, nvme::WriteProtection state);
  // A device is there: those that are pending for one of its names.
  bool AwaitsAnyOf(const std::vector<std::string>& names) const;
  Task<void> AttachPending(std::vector<std::string> names);
  // Aborts what is in flight and closes all devices.
  Task<void> Shutdown();

  std::vector<NamespaceInfo> infos() const;
  std::optional<NamespaceInfo> Find(uint32_t nsid) const;
  void AppendPending(std::vector<PendingNamespace>& pending) const;
  std::vector<SubsystemStatistics::OfNamespace> Statistics() const;

 private:
  struct Entry;
  using Identifier = std::pair<char, std::array<uint8_t, 16>>;  // 'u'uid, 'n'guid or 'e'ui64.
  using Entries = std::map<uint32_t, std::unique_ptr<Entry>>;

  Status CheckSpec(const NamespaceSpec& spec) const;
  Result<Entry*> FindOrFail(uint32_t nsid) const;
  uint32_t LowestFree() const;
  // The identifiers of one namespace are no other's in this subsystem.
  Status TakeIdentifiers(Entry& entry, const BlockDevice& device);
  void GiveIdentifiersBack(Entry& entry);
  // --- The turn is held.
  // Opens the block device and shows it to the reactors.
  Task<Status> Attach(Entry& entry);
  // Takes it from the reactors; the device stays open.
  Task<void> Detach(Entry& entry);
  Task<void> Drop(Entry& entry);
  // Hands the reactors what has changed, and tells the hosts.
  Task<void> Publish(Entry& entry, SubsystemEvent event);
  void BecomePending(Entry& entry, std::string reason);

  Task<void> OnRemoving(uint32_t nsid, BlockDevice& gone);
  Task<void> OnResized(uint32_t nsid, BlockDevice& device);
  NamespaceInfo InfoOf(const Entry& entry) const;

  const std::string nqn_;
  const uint32_t namespaces_max_;
  DeviceRegistry& devices_;
  const Views& views_;
  Turn& turn_;
  Entries entries_;
  uint32_t first_free_ = 1;                       // No lower nsid is free.
  std::multimap<std::string, uint32_t> pending_;  // By the name of the device.
  std::map<Identifier, uint32_t> identifiers_;
  TaskGroup tasks_;
  bool stopping_ = false;
};

}  // namespace pollux::nvmf
