#include "drivers/nvme_disk/nvme_discovery.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux {
namespace {

constexpr uint64_t kRetryMinNs = 2 * kNsPerSecond, kRetryMaxNs = 60 * kNsPerSecond;
constexpr size_t kSubsystemsMax = 4096;  // Numbers that were given, ever.

}  // namespace

NvmeDiscovery::NvmeDiscovery(const NvmeEnvironment& environment, NvmeDiscoveryOptions options,
                             uint32_t keep_alive_ms, Paths& paths)
    : environment_(environment),
      options_(std::move(options)),
      keep_alive_ms_(keep_alive_ms),
      paths_interface_(paths) {}

NvmeDiscovery::~NvmeDiscovery() {
  CHECK(!started_ || (stopping_ && tasks_.running() == 0), "a discovery was not stopped");
}

NvmeDiscovery::Key NvmeDiscovery::KeyOf(const pollux_nvme_transport_id& id) {
  return absl::StrFormat("%s %s %s", id.traddr, id.trsvcid, id.subnqn);
}

// --- From outside.

void NvmeDiscovery::Start() {
  started_ = true;
  Follow(options_.id);
  tasks_.Spawn(Run());
}

Task<Status> NvmeDiscovery::WaitUntilTried(uint64_t deadline_ns) {
  while (!tried()) {
    if (stopping_) co_return Cancelled("the discovery was stopped");
    const bool early = co_await changed_.Until(deadline_ns);
    if (!early && !tried()) {
      co_return TimedOut("not all that was discovered was attached in time");
    }
  }
  co_return OkStatus();
}

Task<void> NvmeDiscovery::Stop(bool detach) {
  CHECK(!stopping_);
  stopping_ = true;
  for (auto& [key, followed] : services_) followed->service->End();
  for (auto& [key, path] : paths_) {
    if (path.state == Path::State::kAttaching) paths_interface_.CancelAttach(path.attachment);
  }
  changed_.Pulse();
  co_await tasks_.Drained();
  if (!detach) co_return;
  for (auto& [key, path] : paths_) {
    if (path.state == Path::State::kAttached) tasks_.Spawn(DetachPath(key));
  }
  co_await tasks_.Drained();
}

void NvmeDiscovery::OnPathGone(const NvmeAttachment& attachment) {
  const auto found = paths_.find(KeyOf(attachment.id));
  if (found == paths_.end() || found->second.state != Path::State::kAttached) return;
  found->second.state = Path::State::kWaiting;
  found->second.delay_ns = kRetryMinNs;
  found->second.due_ns = environment_.control.NowNs() + kRetryMinNs;
  OnDiscoveryService();
}

std::vector<pollux_nvme_transport_id> NvmeDiscovery::referrals() const {
  std::vector<pollux_nvme_transport_id> ids;
  const Key own = KeyOf(options_.id);
  for (const auto& [key, followed] : services_) {
    if (key != own) ids.push_back(followed->service->id());
  }
  return ids;
}

Status NvmeDiscovery::failure() const {
  const auto found = services_.find(KeyOf(options_.id));
  return found == services_.end() ? OkStatus() : found->second->service->failure();
}

bool NvmeDiscovery::tried() const {
  if (dirty_ || !looked_) return false;
  const auto own = services_.find(KeyOf(options_.id));
  if (own == services_.end() || !own->second->service->heard()) return false;
  for (const auto& [key, followed] : services_) {
    if (!followed->service->tried()) return false;
  }
  return std::all_of(paths_.begin(), paths_.end(),
                     [](const auto& path) { return path.second.tried || !path.second.wanted; });
}

// --- What is followed.

void NvmeDiscovery::OnDiscoveryService() {
  dirty_ = true;
  changed_.Pulse();
}

Task<void> NvmeDiscovery::Run() {
  while (!stopping_) {
    dirty_ = false;
    FindServices();
    FindPaths();
    const uint64_t look_again_ns = BeginDue();
    looked_ = true;
    changed_.Pulse();
    if (dirty_ || stopping_) continue;
    co_await changed_.Until(look_again_ns);
  }
}

void NvmeDiscovery::Follow(const pollux_nvme_transport_id& id) {
  NvmeDiscoveryPlace place{.id = id,
                           .hostnqn = options_.hostnqn,
                           .keep_alive_ms = keep_alive_ms_,
                           .reconnect_delay_sec = options_.reconnecting.delay_sec};
  auto followed = std::make_shared<Followed>();
  followed->service = std::make_unique<NvmeDiscoveryService>(
      environment_, std::move(place), static_cast<NvmeDiscoveryService::Owner&>(*this));
  const Key key = KeyOf(id);
  services_[key] = std::move(followed);
  tasks_.Spawn(RunService(key));
}

Task<void> NvmeDiscovery::RunService(std::string key) {
  const std::shared_ptr<Followed> followed = services_.at(key);
  co_await followed->service->Follow();
  followed->ended = true;
  if (stopping_) co_return;  // What it was is still asked for.
  services_.erase(key);
  OnDiscoveryService();  // It may be wanted again.
}

// The services that can be reached from the first one by referrals, each address once. Those that
// nobody refers to any more are given up.
void NvmeDiscovery::FindServices() {
  std::map<Key, pollux_nvme_transport_id> reached = {{KeyOf(options_.id), options_.id}};
  std::vector<Key> level = {KeyOf(options_.id)};
  for (int depth = 0; depth < kReferralDepthMax && !level.empty(); ++depth) {
    std::vector<Key> next;
    for (const Key& key : level) {
      const auto found = services_.find(key);
      if (found == services_.end()) continue;
      for (const pollux_nvme_discovery_entry& entry : found->second->service->entries()) {
        if (entry.subtype != POLLUX_NVME_SUBSYSTEM_REFERRAL || entry.unusable != nullptr) continue;
        if (reached.size() >= kServicesMax) break;
        if (reached.emplace(KeyOf(entry.id), entry.id).second) next.push_back(KeyOf(entry.id));
      }
    }
    level = std::move(next);
  }
  for (const auto& [key, id] : reached) {
    if (!services_.contains(key)) Follow(id);
  }
  for (const auto& [key, followed] : std::map(services_)) {
    if (!reached.contains(key)) followed->service->End();
  }
}

// --- What is attached.

void NvmeDiscovery::FindPaths() {
  for (auto& [key, path] : paths_) path.wanted = false;
  for (const auto& [service_key, followed] : services_) {
    for (const pollux_nvme_discovery_entry& entry : followed->service->entries()) {
      if (entry.subtype != POLLUX_NVME_SUBSYSTEM_NVM || entry.unusable != nullptr) continue;
      const Key key = KeyOf(entry.id);
      const auto found = paths_.find(key);
      found == paths_.end() ? AddPath(key, entry.id) : void(found->second.wanted = true);
    }
  }
}

void NvmeDiscovery::AddPath(const Key& key, const pollux_nvme_transport_id& id) {
  const std::string name = paths_.size() < kPathsMax ? NameOf(id.subnqn) : "";
  if (name.empty()) {
    if (!std::exchange(too_many_told_, true)) {
      LogWarning("nvme", "discovery %s: more was found than is attached: at most %u addresses",
                 options_.name, kPathsMax);
    }
    return;
  }
  Path path;
  path.attachment.name = name;
  path.attachment.id = id;
  path.attachment.hostnqn = options_.hostnqn;
  path.attachment.reconnecting = options_.reconnecting;
  path.delay_ns = kRetryMinNs;
  paths_.emplace(key, std::move(path));
}

std::string NvmeDiscovery::NameOf(const std::string& subnqn) {
  std::vector<std::string>& numbered = options_.subsystems;
  const auto known = std::find(numbered.begin(), numbered.end(), subnqn);
  if (known != numbered.end()) return options_.name + std::to_string(known - numbered.begin());
  while (numbered.size() < kSubsystemsMax) {
    std::string name = options_.name + std::to_string(numbered.size());
    const bool taken = paths_interface_.IsTaken(name);
    numbered.push_back(taken ? "" : subnqn);
    if (!taken) return name;
  }
  return "";
}

uint64_t NvmeDiscovery::BeginDue() {
  const uint64_t now = environment_.control.NowNs();
  uint64_t next = Loop::kNever;
  // A task that ends at once may change the map.
  std::vector<Key> attach, detach;
  for (auto path = paths_.begin(); path != paths_.end();) {
    auto& [key, it] = *path;
    const bool idle = it.state == Path::State::kWaiting || it.state == Path::State::kNotOurs;
    if (!it.wanted && idle) {
      path = paths_.erase(path);
      continue;
    }
    if (!it.wanted && it.state == Path::State::kAttached) detach.push_back(key);
    if (!it.wanted && it.state == Path::State::kAttaching) {
      paths_interface_.CancelAttach(it.attachment);
    }
    if (it.state == Path::State::kWaiting && it.due_ns > now) next = std::min(next, it.due_ns);
    if (it.state == Path::State::kWaiting && it.due_ns <= now) attach.push_back(key);
    ++path;
  }
  for (const Key& key : detach) tasks_.Spawn(DetachPath(key));
  for (const Key& key : attach) {
    if (attaching_ >= kAttachesAtOnce) break;  // The end of one of them looks again.
    tasks_.Spawn(AttachPath(key));
  }
  return next;
}

Task<void> NvmeDiscovery::AttachPath(std::string key) {
  Path& path = paths_.at(key);  // It stays while it is not idle.
  path.state = Path::State::kAttaching;
  ++attaching_;
  const NvmeAttachment attachment = path.attachment;
  const Status status = co_await paths_interface_.Attach(attachment);
  --attaching_;
  const bool first = !std::exchange(path.tried, true);
  const int error = ErrnoOf(status);
  if (status.ok()) {
    path.state = Path::State::kAttached;
    path.delay_ns = kRetryMinNs;
  } else if (error == EEXIST || error == EALREADY) {
    path.state = Path::State::kNotOurs;
    LogNotice("nvme", "discovery %s: %s is left alone: %s", options_.name,
              Printable(attachment.id.subnqn), status.message());
  } else {
    path.state = Path::State::kWaiting;
    path.due_ns = environment_.control.NowNs() + path.delay_ns;
    path.delay_ns = std::min(path.delay_ns * 2, kRetryMaxNs);
    if (first && !stopping_ && path.wanted) {
      LogWarning("nvme", "discovery %s: %s at %s port %s cannot be attached: %s", options_.name,
                 Printable(attachment.id.subnqn), attachment.id.traddr, attachment.id.trsvcid,
                 Printable(std::string(status.message())));
    }
  }
  OnDiscoveryService();
}

Task<void> NvmeDiscovery::DetachPath(std::string key) {
  Path& path = paths_.at(key);
  path.state = Path::State::kDetaching;
  const NvmeAttachment attachment = path.attachment;
  co_await paths_interface_.Detach(attachment);
  path.state = Path::State::kWaiting;  // It may be back in the log.
  path.due_ns = 0;
  OnDiscoveryService();
}

}  // namespace pollux
