#include "drivers/nvme/namespaces.h"

#include <cstring>
#include <optional>

#include "absl/strings/str_format.h"

namespace pollux::nvme {
namespace {

constexpr uint32_t kVersion11 = 0x010100, kVersion13 = 0x010300;
// Without the list of CNS 02h each possible number is asked for.
constexpr uint32_t kNamespacesWithoutList = 1024;
constexpr uint32_t kCtrattExtendedLbaFormats = 1 << 15;

// A refusal of the device, and not the end of the queue.
bool Refused(const Status& status) { return status.code() == absl::StatusCode::kInternal; }

}  // namespace

Task<Status> Namespaces::Identify(uint8_t cns, uint32_t nsid, uint8_t csi) {
  if (!data_.valid()) data_ = admin_.Buffer(kIdentifyBytes);
  if (!data_.valid()) co_return OutOfMemory("no memory for Identify");
  memset(data_.get(), 0, data_.bytes());
  const SubmissionEntry entry = EntryOf(pollux_nvme_make_identify(cns, nsid, 0, csi));
  AdminCommand command(admin_, entry, data_);
  const Completion completion = co_await command;
  if (pollux_nvme_ok(completion)) co_return OkStatus();
  const std::string what = absl::StrFormat("Identify, CNS %02xh, namespace 0x%x", cns, nsid);
  co_return CommandFailed(what.c_str(), completion);
}

Task<Result<std::vector<uint32_t>>> Namespaces::ReadActive(const ControllerFacts& facts,
                                                           Quirks quirks) {
  std::vector<uint32_t> found;
  if (facts.info.version < kVersion11 || quirks.only_first_cns) {
    const uint32_t last = std::min(facts.info.namespaces_max, kNamespacesWithoutList);
    for (uint32_t nsid = 1; nsid <= last; ++nsid) found.push_back(nsid);
    co_return found;
  }
  for (bool more = true; more;) {
    const uint32_t after = found.empty() ? 0 : found.back();
    CO_RETURN_IF_ERROR(co_await Identify(cns::kActiveNamespaces, after, 0));
    ASSIGN_OR_CO_RETURN(more, ReadNamespaceList(data(), after, found));
  }
  if (found.size() == kNamespacesMax) {
    warn_(absl::StrFormat("of its namespaces, those above 0x%x are ignored", found.back()));
  }
  co_return found;
}

Task<Result<NamespaceIds>> Namespaces::ReadIds(uint32_t nsid, bool required) {
  const Status read = co_await Identify(cns::kNamespaceDescriptors, nsid, 0);
  if (read.ok()) co_return ReadNamespaceDescriptors(data());
  // Many devices of 1.3 do not have them, and need not, as long as there is one command set.
  if (Refused(read) && !required) co_return NamespaceIds{};
  co_return read;
}

Task<bool> Namespaces::HasKnownGuard(uint32_t nsid, const IdentifyNamespace& identify,
                                     const ControllerFacts& facts) {
  if ((identify.dps & 7) == 0) co_return true;
  if ((facts.info.ctratt & kCtrattExtendedLbaFormats) == 0) co_return true;
  const Status read = co_await Identify(cns::kCsNamespace, nsid, kCsiNvm);
  co_return read.ok() && HasShortGuard(data(), identify);
}

Task<Result<std::optional<Namespace::Facts>>> Namespaces::Describe(uint32_t nsid,
                                                                   const ControllerFacts& facts,
                                                                   Quirks quirks,
                                                                   bool io_command_sets) {
  NamespaceIds ids;
  if (facts.info.version >= kVersion13 && !quirks.only_first_cns) {
    ASSIGN_OR_CO_RETURN(ids, co_await ReadIds(nsid, io_command_sets));
  }
  const uint8_t csi = ids.csi.value_or(kCsiNvm);
  if (csi != kCsiNvm && csi != kCsiZoned) {
    co_return NotSupported("namespace 0x%x has the command set %02xh", nsid, csi);
  }
  CO_RETURN_IF_ERROR(co_await Identify(cns::kNamespace, nsid, 0));
  IdentifyNamespace identify;
  memcpy(&identify, data_.get(), sizeof(identify));
  if (quirks.shared_ids) {
    memset(identify.nguid, 0, sizeof(identify.nguid));
    memset(identify.eui64, 0, sizeof(identify.eui64));
    ids = NamespaceIds{};
  }
  if (!co_await HasKnownGuard(nsid, identify, facts)) {
    co_return NotSupported("namespace 0x%x has a guard of more than 16 bits", nsid);
  }
  if (csi == kCsiNvm) co_return DescribeNamespace(nsid, identify, ids, nullptr, facts);
  CO_RETURN_IF_ERROR(co_await Identify(cns::kCsNamespace, nsid, kCsiZoned));
  IdentifyZonedNamespace zoned;
  memcpy(&zoned, data_.get(), sizeof(zoned));
  co_return DescribeNamespace(nsid, identify, ids, &zoned, facts);
}

Task<Status> Namespaces::Scan(const ControllerFacts& facts, Quirks quirks, bool io_command_sets) {
  ASSIGN_OR_CO_RETURN(const std::vector<uint32_t> nsids, co_await ReadActive(facts, quirks));
  std::map<uint32_t, Namespace::Facts> found;
  for (const uint32_t nsid : nsids) {
    Result<std::optional<Namespace::Facts>> described =
        co_await Describe(nsid, facts, quirks, io_command_sets);
    if (described.ok()) {
      if (described->has_value()) found.emplace(nsid, **described);
      continue;
    }
    switch (described.status().code()) {
      case absl::StatusCode::kCancelled:  // A reset or the end: what was read so far tells nothing.
      case absl::StatusCode::kResourceExhausted:
        co_return described.status();
      default:
        if (ErrnoOf(described.status()) == ENODEV) co_return described.status();
        warn_(std::string(described.status().message()));
    }
  }
  Merge(found);
  co_return OkStatus();
}

void Namespaces::Merge(const std::map<uint32_t, Namespace::Facts>& found) {
  std::vector<uint32_t> gone;
  for (const auto& [nsid, ns] : active_) {
    const auto now = found.find(nsid);
    if (now == found.end() || !SameFormat(ns->info(), now->second.info)) gone.push_back(nsid);
  }
  for (const uint32_t nsid : gone) Retire(nsid);
  for (const auto& [nsid, facts] : found) {
    const auto was = active_.find(nsid);
    if (was == active_.end()) {
      Add(nsid, facts);
    } else if (was->second->blocks() != facts.info.blocks) {
      was->second->Resize(facts.info.blocks);
      on_change_(POLLUX_NVME_EVENT_NAMESPACE_RESIZED, nsid);
    }
  }
}

void Namespaces::Add(uint32_t nsid, const Namespace::Facts& facts) {
  if (retired_.size() >= kRetiredMax) {
    warn_("its namespaces came and went too often: no more are taken");
    return;
  }
  active_.emplace(nsid, std::make_unique<pollux_nvme_namespace>(facts));
  on_change_(POLLUX_NVME_EVENT_NAMESPACE_ADDED, nsid);
}

void Namespaces::Retire(uint32_t nsid) {
  const auto found = active_.find(nsid);
  found->second->Deactivate();
  retired_.push_back(std::move(found->second));
  active_.erase(found);
  on_change_(POLLUX_NVME_EVENT_NAMESPACE_REMOVED, nsid);
}

pollux_nvme_namespace* Namespaces::Find(uint32_t nsid) const {
  const auto found = active_.find(nsid);
  return found == active_.end() ? nullptr : found->second.get();
}

pollux_nvme_namespace* Namespaces::Next(uint32_t nsid) const {
  const auto found = active_.upper_bound(nsid);
  return found == active_.end() ? nullptr : found->second.get();
}

}  // namespace pollux::nvme
