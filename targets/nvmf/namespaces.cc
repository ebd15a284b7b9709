#include "targets/nvmf/namespaces.h"

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "targets/nvmf/names.h"

namespace pollux::nvmf {
namespace {

template <size_t N>
std::pair<char, std::array<uint8_t, 16>> Tagged(char kind, const std::array<uint8_t, N>& bytes) {
  std::array<uint8_t, 16> padded{};
  std::copy(bytes.begin(), bytes.end(), padded.begin());
  return {kind, padded};
}

template <size_t N>
bool IsZero(const std::array<uint8_t, N>& bytes) {
  return bytes == std::array<uint8_t, N>{};
}

}  // namespace

// A configured namespace. It is the user of its block device while `device` is set.
struct Namespaces::Entry final : BlockUser {
  Entry(Namespaces& owner, NamespaceSpec wanted)
      : namespaces(owner), spec(std::move(wanted)), counters(owner.views_.size()) {}

  std::string description() const override {
    return absl::StrFormat("NVMe subsystem %s namespace %d", Printable(namespaces.nqn_), spec.nsid);
  }
  Task<void> OnDeviceRemoving(BlockDevice& gone) override {
    return namespaces.OnRemoving(spec.nsid, gone);
  }
  void OnDeviceResized(BlockDevice& resized) override {
    namespaces.tasks_.Spawn(namespaces.OnResized(spec.nsid, resized));
  }

  // What reactors are told. The device is open.
  std::shared_ptr<const NamespaceFacts> Facts() const {
    auto facts = std::make_shared<NamespaceFacts>();
    facts->nsid = spec.nsid;
    facts->device_name = spec.bdev_name;
    facts->geometry = device->geometry();
    facts->limits = device->limits();
    facts->uuid = uuid;
    facts->nguid = nguid;
    facts->eui64 = spec.eui64.value_or(std::array<uint8_t, 8>{});
    facts->anagrpid = spec.anagrpid;
    facts->read_only = device->read_only();
    facts->write_protection = spec.write_protection;
    facts->volatile_cache = device->volatile_cache();
    facts->flush = device->Supports(IoType::kFlush);
    facts->unmap = device->Supports(IoType::kUnmap);
    facts->write_zeroes = device->Supports(IoType::kWriteZeroes);
    facts->compare = device->Supports(IoType::kCompare);
    facts->compare_and_write = device->Supports(IoType::kCompareAndWrite);
    if (spec.no_auto_visible) {
      facts->hosts = std::make_shared<const std::vector<std::string>>(hosts.begin(), hosts.end());
    }
    return facts;
  }

  Namespaces& namespaces;
  NamespaceSpec spec;  // As it was asked for, with nsid and group, and its write protection now.
  std::set<std::string> hosts;
  std::vector<CommandCounters> counters;  // By reactor. They go on while the disk is away.
  BlockDevice* device = nullptr;
  // Set with the device.
  Uuid uuid;
  std::array<uint8_t, 16> nguid{};
  std::string reason;  // Why there is no device.
};

Namespaces::Namespaces(const std::string& nqn, uint32_t namespaces_max, DeviceRegistry& devices,
                       const Views& views, Turn& turn)
    : nqn_(nqn), namespaces_max_(namespaces_max), devices_(devices), views_(views), turn_(turn) {}

Namespaces::~Namespaces() { CHECK(entries_.empty(), "namespaces were left behind"); }

// --- What is asked for.

Status Namespaces::CheckSpec(const NamespaceSpec& spec) const {
  if (spec.nsid > namespaces_max_) {
    return InvalidField("nsid", spec.nsid, "this subsystem has namespaces 1 to %d",
                        namespaces_max_);
  }
  if (spec.bdev_name.empty()) return InvalidField("bdev_name", "", "must not be empty");
  if (spec.anagrpid > namespaces_max_) {
    return InvalidField("anagrpid", spec.anagrpid, "this subsystem has ANA groups 1 to %d",
                        namespaces_max_);
  }
  if (spec.nguid && IsZero(*spec.nguid)) return InvalidField("nguid", "0", "must not be zero");
  if (spec.eui64 && IsZero(*spec.eui64)) return InvalidField("eui64", "0", "must not be zero");
  if (spec.uuid && IsZero(spec.uuid->bytes)) {
    return InvalidField("uuid", spec.uuid->ToString(), "must not be zero");
  }
  return OkStatus();
}

Result<Namespaces::Entry*> Namespaces::FindOrFail(uint32_t nsid) const {
  const auto found = entries_.find(nsid);
  if (found != entries_.end()) return found->second.get();
  return ErrorOfField(ENOENT, "nsid", std::to_string(nsid), "the subsystem has no such namespace");
}

uint32_t Namespaces::LowestFree() const {
  uint32_t lowest = first_free_;
  for (auto at = entries_.find(lowest); at != entries_.end() && at->first == lowest; ++at) {
    ++lowest;
  }
  return lowest;
}

// UUID and NGUID are the disk's UUID where nothing else was asked for: as stable as the disk.
Status Namespaces::TakeIdentifiers(Entry& entry, const BlockDevice& device) {
  entry.uuid = entry.spec.uuid.value_or(device.uuid());
  entry.nguid = entry.spec.nguid.value_or(device.uuid().bytes);
  struct Wanted {
    const char* field;
    Identifier key;
  };
  std::vector<Wanted> wanted = {{"uuid", Tagged('u', entry.uuid.bytes)},
                                {"nguid", Tagged('n', entry.nguid)}};
  if (entry.spec.eui64) wanted.push_back({"eui64", Tagged('e', *entry.spec.eui64)});
  for (const Wanted& identifier : wanted) {
    const auto other = identifiers_.find(identifier.key);
    if (other == identifiers_.end()) continue;
    return ErrorOfField(EEXIST, identifier.field, "",
                        absl::StrFormat("namespace %d of this subsystem has the same; one disk is "
                                        "one namespace",
                                        other->second));
  }
  for (Wanted& identifier : wanted) identifiers_.emplace(identifier.key, entry.spec.nsid);
  return OkStatus();
}

void Namespaces::GiveIdentifiersBack(Entry& entry) {
  identifiers_.erase(Tagged('u', entry.uuid.bytes));
  identifiers_.erase(Tagged('n', entry.nguid));
  if (entry.spec.eui64) identifiers_.erase(Tagged('e', *entry.spec.eui64));
}

// --- With the turn.

Task<Status> Namespaces::Attach(Entry& entry) {
  const Result<BlockDevice*> found = devices_.Find(entry.spec.bdev_name);
  if (!found.ok()) {
    co_return ErrorOfField(ENODEV, "bdev_name", Printable(entry.spec.bdev_name),
                           DetailOf(found.status()).reason);
  }
  BlockDevice& device = **found;
  if (device.geometry().metadata_bytes > 0 && !device.geometry().metadata_interleaved) {
    co_return ErrorOfField(ENOTSUP, "bdev_name", Printable(entry.spec.bdev_name),
                           "its metadata is apart from its data, which fabrics have no place for");
  }
  if (device.geometry().protection_type > 0 &&
      device.geometry().metadata_bytes < sizeof(nvme::ProtectionInformation)) {
    co_return ErrorOfField(ENOTSUP, "bdev_name", Printable(entry.spec.bdev_name),
                           "its metadata is too short for protection information");
  }
  CO_RETURN_IF_ERROR(TakeIdentifiers(entry, device));
  if (const Status opened = device.Open(entry, /*write=*/!device.read_only()); !opened.ok()) {
    GiveIdentifiersBack(entry);
    co_return ErrorOfField(ErrnoOf(opened), "bdev_name", Printable(entry.spec.bdev_name),
                           DetailOf(opened).reason);
  }
  entry.device = &device;
  entry.reason.clear();
  const std::shared_ptr<const NamespaceFacts> facts = entry.Facts();
  auto attach = [&device, &facts, &entry](SubsystemView& view, size_t reactor) {
    view.Attach(device.channel(reactor), facts, entry.counters[reactor]);
  };
  co_await views_.ForEach(attach);
  // Only now, or a host could look for it where it is not yet.
  co_await views_.Tell(SubsystemEvent::kNamespaceChanged, entry.spec.nsid);
  co_return OkStatus();
}

Task<void> Namespaces::Detach(Entry& entry) {
  std::vector<uint32_t> nsids{entry.spec.nsid};
  co_await views_.Detach(std::move(nsids));
  GiveIdentifiersBack(entry);
  entry.device = nullptr;
  co_await views_.Tell(SubsystemEvent::kNamespaceChanged, entry.spec.nsid);
}

Task<void> Namespaces::Drop(Entry& entry) {
  if (BlockDevice* const device = entry.device) {
    co_await Detach(entry);
    device->Close(entry);
  }
  const auto [first, last] = pending_.equal_range(entry.spec.bdev_name);
  const auto awaited = std::find_if(
      first, last, [&entry](const auto& waiting) { return waiting.second == entry.spec.nsid; });
  if (awaited != last) pending_.erase(awaited);
  first_free_ = std::min(first_free_, entry.spec.nsid);
  entries_.erase(entry.spec.nsid);
}

Task<void> Namespaces::Publish(Entry& entry, SubsystemEvent event) {
  if (entry.device == nullptr) co_return;
  const std::shared_ptr<const NamespaceFacts> facts = entry.Facts();
  auto update = [&facts](SubsystemView& view, size_t) { view.Update(facts); };
  co_await views_.ForEach(update);
  co_await views_.Tell(event, entry.spec.nsid);
}

void Namespaces::BecomePending(Entry& entry, std::string reason) {
  entry.reason = std::move(reason);
  pending_.emplace(entry.spec.bdev_name, entry.spec.nsid);
}

// --- Changes.

Task<Result<uint32_t>> Namespaces::Add(NamespaceSpec spec, bool may_be_pending) {
  const Turn::Holder held = co_await turn_.Take();
  CO_RETURN_IF_ERROR(CheckSpec(spec));
  if (spec.nsid == 0) {
    spec.nsid = LowestFree();
    if (spec.nsid > namespaces_max_) {
      co_return NoSpace("all %d namespaces of the subsystem are taken", namespaces_max_);
    }
    first_free_ = spec.nsid;
  } else if (entries_.contains(spec.nsid)) {
    co_return ErrorOfField(EEXIST, "nsid", std::to_string(spec.nsid),
                           "the subsystem has it already");
  }
  if (spec.anagrpid == 0) spec.anagrpid = spec.nsid;

  const uint32_t nsid = spec.nsid;
  auto made = std::make_unique<Entry>(*this, std::move(spec));
  Entry& entry = *made;
  entries_.emplace(nsid, std::move(made));
  const Status attached = co_await Attach(entry);
  if (attached.ok()) co_return nsid;
  if (!may_be_pending) {
    co_await Drop(entry);
    co_return attached;
  }
  BecomePending(entry, DetailOf(attached).reason);
  LogWarning("nvmf", "subsystem %s: namespace %d is pending: %s", Printable(nqn_), nsid,
             entry.reason);
  co_return nsid;
}

Task<Status> Namespaces::Remove(uint32_t nsid) {
  const Turn::Holder held = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Entry* const entry, FindOrFail(nsid));
  co_await Drop(*entry);
  co_return OkStatus();
}

Task<Result<uint32_t>> Namespaces::SetAnaGroup(uint32_t nsid, uint32_t group) {
  const Turn::Holder held = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Entry* const entry, FindOrFail(nsid));
  if (group == 0 || group > namespaces_max_) {
    co_return InvalidField("anagrpid", group, "this subsystem has ANA groups 1 to %d",
                           namespaces_max_);
  }
  const uint32_t before = std::exchange(entry->spec.anagrpid, group);
  if (before != group) co_await Publish(*entry, SubsystemEvent::kNamespaceChanged);
  co_return before;
}

Task<Status> Namespaces::AddHost(uint32_t nsid, std::string hostnqn) {
  const Turn::Holder held = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Entry* const entry, FindOrFail(nsid));
  CO_RETURN_IF_ERROR(ValidateNqn("host", hostnqn));
  if (!entry->spec.no_auto_visible) {
    co_return ErrorOfField(EPERM, "nsid", std::to_string(nsid),
                           "every host sees this namespace; make it with no_auto_visible");
  }
  if (entry->hosts.size() >= kNamespaceHostsMax) {
    co_return NoSpace("a namespace has at most %d hosts", kNamespaceHostsMax);
  }
  if (!entry->hosts.insert(hostnqn).second) {
    co_return ErrorOfField(EEXIST, "host", Printable(hostnqn), "sees the namespace already");
  }
  co_await Publish(*entry, SubsystemEvent::kNamespaceChanged);
  co_return OkStatus();
}

Task<Status> Namespaces::RemoveHost(uint32_t nsid, std::string hostnqn) {
  const Turn::Holder held = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Entry* const entry, FindOrFail(nsid));
  if (entry->hosts.erase(hostnqn) == 0) {
    co_return ErrorOfField(ENOENT, "host", Printable(hostnqn), "is not in the namespace's list");
  }
  co_await Publish(*entry, SubsystemEvent::kNamespaceChanged);
  co_return OkStatus();
}

Task<uint16_t> Namespaces::SetWriteProtection(uint32_t nsid, nvme::WriteProtection state) {
  const Turn::Holder held = co_await turn_.Take();
  const Result<Entry*> entry = FindOrFail(nsid);
  if (!entry.ok() || (*entry)->device == nullptr) co_return nvme::status::kInvalidNamespace;
  nvme::WriteProtection& now = (*entry)->spec.write_protection;
  if (now == state) co_return nvme::status::kSuccess;
  // Nobody takes these back. §8.12.1
  if (now == nvme::WriteProtection::kUntilPowerCycle || now == nvme::WriteProtection::kPermanent) {
    co_return nvme::status::kFeatureNotChangeable | nvme::status::kDnrBit;
  }
  now = state;
  co_await Publish(**entry, SubsystemEvent::kNamespaceChanged);
  co_return nvme::status::kSuccess;
}

// --- Devices come and go.

bool Namespaces::AwaitsAnyOf(const std::vector<std::string>& names) const {
  return std::any_of(names.begin(), names.end(),
                     [this](const std::string& name) { return pending_.contains(name); });
}

Task<void> Namespaces::AttachPending(std::vector<std::string> names) {
  const Turn::Holder held = co_await turn_.Take();
  std::vector<uint32_t> nsids;
  for (const std::string& name : names) {
    const auto [first, last] = pending_.equal_range(name);
    for (auto waiting = first; waiting != last; ++waiting) nsids.push_back(waiting->second);
    pending_.erase(first, last);
  }
  for (const uint32_t nsid : nsids) {
    Entry& entry = *entries_.at(nsid);
    if (stopping_) co_return;
    const Status attached = co_await Attach(entry);
    if (attached.ok()) {
      LogNotice("nvmf", "subsystem %s: namespace %d is there again", Printable(nqn_), nsid);
    } else {
      BecomePending(entry, DetailOf(attached).reason);
    }
  }
}

Task<void> Namespaces::OnRemoving(uint32_t nsid, BlockDevice& gone) {
  const Turn::Holder held = co_await turn_.Take();
  const auto found = entries_.find(nsid);
  // Somebody may have removed the namespace while we waited for the turn.
  if (found == entries_.end() || found->second->device != &gone) co_return;
  Entry& entry = *found->second;
  co_await Detach(entry);
  BecomePending(entry, absl::StrFormat("block device '%s' was removed", entry.spec.bdev_name));
  LogNotice("nvmf", "subsystem %s: namespace %d is pending: %s", Printable(nqn_), nsid,
            entry.reason);
}

Task<void> Namespaces::OnResized(uint32_t nsid, BlockDevice& device) {
  const Turn::Holder held = co_await turn_.Take();
  const auto found = entries_.find(nsid);
  if (found == entries_.end() || found->second->device != &device) co_return;
  co_await Publish(*found->second, SubsystemEvent::kNamespaceChanged);
}

// All at once: thousands of them, one by one, would take longer than there is to stop.
Task<void> Namespaces::Shutdown() {
  stopping_ = true;
  co_await tasks_.Drained();
  {
    const Turn::Holder held = co_await turn_.Take();
    std::vector<uint32_t> nsids;
    for (const auto& [nsid, entry] : entries_) {
      if (entry->device != nullptr) nsids.push_back(nsid);
    }
    co_await views_.Detach(std::move(nsids));
    for (const auto& [nsid, entry] : entries_) {
      if (entry->device != nullptr) entry->device->Close(*entry);
    }
    entries_.clear();
    pending_.clear();
    identifiers_.clear();
  }
  co_await tasks_.Drained();
}

// --- For people.

NamespaceInfo Namespaces::InfoOf(const Entry& entry) const {
  NamespaceInfo info;
  info.spec = entry.spec;
  if (entry.device != nullptr) {
    info.spec.uuid = entry.uuid;
    info.spec.nguid = entry.nguid;
  }
  info.hosts.assign(entry.hosts.begin(), entry.hosts.end());
  info.pending = entry.device == nullptr;
  info.reason = entry.reason;
  return info;
}

std::vector<NamespaceInfo> Namespaces::infos() const {
  std::vector<NamespaceInfo> infos;
  infos.reserve(entries_.size());
  for (const auto& [nsid, entry] : entries_) infos.push_back(InfoOf(*entry));
  return infos;
}

std::optional<NamespaceInfo> Namespaces::Find(uint32_t nsid) const {
  const auto found = entries_.find(nsid);
  if (found == entries_.end()) return std::nullopt;
  return InfoOf(*found->second);
}

std::vector<SubsystemStatistics::OfNamespace> Namespaces::Statistics() const {
  std::vector<SubsystemStatistics::OfNamespace> statistics;
  statistics.reserve(entries_.size());
  for (const auto& [nsid, entry] : entries_) {
    SubsystemStatistics::OfNamespace& of = statistics.emplace_back();
    of.nsid = nsid;
    of.bdev_name = entry->spec.bdev_name;
    for (const CommandCounters& counters : entry->counters) of.totals += counters;
  }
  return statistics;
}

void Namespaces::AppendPending(std::vector<PendingNamespace>& pending) const {
  for (const auto& [device_name, nsid] : pending_) {
    pending.push_back({nqn_, nsid, device_name, entries_.at(nsid)->reason});
  }
}

}  // namespace pollux::nvmf
