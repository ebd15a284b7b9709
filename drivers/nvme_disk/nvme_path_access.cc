#include <algorithm>
#include <cstring>
#include <utility>

#include "core/log.h"
#include "core/spec/nvme_spec.h"
#include "drivers/nvme_disk/nvme_path.h"
#include "drivers/nvme_disk/nvme_subsystem.h"

// What a path says of how well it reaches namespaces. Base §8.1.
namespace pollux {
namespace {

constexpr uint64_t kAgainNs = kNsPerSecond;
constexpr uint8_t kGroupsOnly = 1;  // RGO of the log specific field. Base figure 218.
constexpr uint64_t kLogBytesMax = 1 << 20;

}  // namespace

// The log page is newer than what Identify said of the group.
NvmeAccess NvmePath::access(const pollux_nvme_namespace_info& ns) const {
  const auto named = group_of_.find(ns.nsid);
  const auto found = groups_.find(named == group_of_.end() ? ns.ana_group : named->second);
  return found == groups_.end() ? NvmeAccess::kOptimized : found->second.access;
}

// At the next poll from then on.
void NvmePath::ReadAccessAt(uint64_t time_ns) {
  if (!reports_access() || leaving_) return;
  read_access_at_ns_ = std::min(read_access_at_ns_, time_ns);
}

Task<void> NvmePath::RefreshAccess() {
  if (!published_ || leaving_) {
    read_access_at_ns_ = Loop::kNever;
    co_return;
  }
  const Status read = co_await ReadAccess();
  if (!read.ok()) {
    LogWarning("nvme", "%s: %s", place(), read.message());
    ReadAccessAt(NowNs() + kAgainNs);
  }
  if (published_ && !leaving_) subsystem_.OnAccess(*this);
}

Task<Status> NvmePath::ReadAccess() {
  const Use use(*this);
  reading_access_ = true;
  read_access_at_ns_ = Loop::kNever;
  nvme::IdentifyController identify;
  memcpy(&identify, pollux_nvme_identify_controller(controller_), sizeof(identify));
  // With the namespaces, since one may be moved to another group, unless there may be very many.
  const uint32_t namespaces = identify.mnan != 0 ? identify.mnan : identify.nn;
  const size_t whole = AnaLogBytes(identify.nanagrpid, namespaces);
  const bool groups_only = whole > std::min(info().transfer_bytes_max, kLogBytesMax);
  const size_t bytes = groups_only ? AnaLogBytes(identify.nanagrpid, 0) : whole;
  const nvme::Memory memory = Allocate(bytes);
  if (memory == nullptr) {
    reading_access_ = false;
    co_return OutOfMemory("no memory for the ANA log page");
  }
  const pollux_nvme_command command = pollux_nvme_make_get_log_page(
      nvme::log_page::kAna, 0, bytes, 0, groups_only ? kGroupsOnly : 0, false);
  const Result<nvme::Completion> ended = co_await Admin(command, memory.get(), bytes);
  reading_access_ = false;
  CO_RETURN_IF_ERROR(ended.status());
  if (!pollux_nvme_ok(*ended)) {
    char text[128];
    co_return InternalError("the ANA log page cannot be read: %s",
                            pollux_nvme_status_text(ended->status, text, sizeof(text)));
  }
  std::string complaint;
  AnaLog log = ParseAnaLog({static_cast<const std::byte*>(memory.get()), bytes}, identify.anagrpmax,
                           complaint);
  if (!complaint.empty()) LogWarning("nvme", "%s: the ANA log page: %s", place(), complaint);

  // One that takes no I/O for longer than a transition may take is not waited for.
  const uint64_t limit_ns = std::max<uint64_t>(identify.anatt, 1) * kNsPerSecond;
  const std::map<uint32_t, Group> before = std::exchange(groups_, {});
  group_of_ = std::move(log.group_of);
  for (const auto& [id, access] : log.groups) {
    Group& group = groups_[id];
    group.access = access;
    if (!MayBecomeAccessible(access)) continue;
    const auto old = before.find(id);
    group.closed_since_ns = old == before.end() || old->second.closed_since_ns == 0
                                ? NowNs()
                                : old->second.closed_since_ns;
    if (NowNs() - group.closed_since_ns >= limit_ns) {
      group.access = NvmeAccess::kLost;
    } else {
      ReadAccessAt(group.closed_since_ns + limit_ns);
    }
  }
  co_return OkStatus();
}

}  // namespace pollux
