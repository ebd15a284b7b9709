#include "service/nvme_discovery_handlers.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/log.h"
#include "drivers/nvme_disk/nvme_discovery.h"
#include "drivers/nvme_disk/nvme_transport.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/nvme_parameters.h"

namespace pollux::service {
namespace {

ObjectId IdOf(const std::string& name) { return {"nvme_discovery", name}; }

}  // namespace

// One discovery, and how it attaches: as bdev_nvme_attach_controller does, but that the call is not
// saved.
class NvmeDiscoveryHandlers::Followed final : public NvmeDiscovery::Paths {
 public:
  Followed(Appliance& appliance, v1::BdevNvmeStartDiscoveryRequest request,
           const NvmeDiscoveryOptions& options)
      : appliance_(appliance),
        request_(std::move(request)),
        discovery_(appliance.nvme().environment(), options,
                   appliance.nvme().options().keep_alive_ms, *this) {}

  NvmeDiscovery& discovery() { return discovery_; }

  // Under the turn.
  void Save() {
    v1::BdevNvmeStartDiscoveryRequest& saved = request_;
    saved.clear_subsystems();
    for (const std::string& nqn : discovery_.options().subsystems) saved.add_subsystems(nqn);
    numbers_saved_ = discovery_.options().subsystems.size();
    appliance_.configuration().Put(IdOf(request_.name()),
                                   {{"bdev_nvme_start_discovery", rpc::EncodeMessage(saved)}});
  }

 private:
  Task<Status> Attach(NvmeAttachment attachment) override {
    if (appliance_.stopping() || discovery_.stopping()) co_return Cancelled("it is stopped");
    ASSIGN_OR_CO_RETURN(NvmePath * path, appliance_.nvme().Reserve(attachment));
    connecting_.insert(path);
    Status status = co_await path->Connect();
    connecting_.erase(path);
    const Turn::Holder held = co_await appliance_.dispatcher().turn().Take();
    if (status.ok() && (appliance_.stopping() || discovery_.stopping())) {
      status = Cancelled("it is stopped");
    }
    // A name that others may keep is a name that stays.
    if (status.ok() && discovery_.options().subsystems.size() != numbers_saved_) {
      Save();
      status = co_await appliance_.configuration().Commit();
    }
    if (status.ok()) status = co_await path->subsystem().Publish(*path);
    if (!status.ok()) {
      const Status removed = co_await appliance_.nvme().RemovePath(path);
      if (!removed.ok()) LogError("nvme", "%s", removed.message());
      co_return status;
    }
    LogNotice("nvme", "discovery %s: %s is attached as %s", request_.name(),
              Printable(attachment.id.subnqn), attachment.name);
    appliance_.RetryPendingSoon();  // What waits for its disks.
    co_return OkStatus();
  }

  void CancelAttach(const NvmeAttachment& attachment) override {
    for (NvmePath* path : connecting_) {
      if (SameNvmePlace(path->attachment().id, attachment.id)) path->CancelConnect();
    }
  }

  Task<void> Detach(NvmeAttachment attachment) override {
    for (NvmePath* path : appliance_.nvme().attached()) {
      if (path->leaving() || path->name() != attachment.name) continue;
      if (!SameNvmePlace(path->attachment().id, attachment.id)) continue;
      const Status removed = co_await appliance_.nvme().RemovePath(path);
      if (!removed.ok()) LogWarning("nvme", "%s: %s", attachment.name, removed.message());
      co_return;
    }
  }

  bool IsTaken(const std::string& name) const override {
    return appliance_.nvme().IsTaken(name) ||
           appliance_.configuration().IsPending({"nvme_controller", name});
  }

  Appliance& appliance_;
  v1::BdevNvmeStartDiscoveryRequest request_;
  size_t numbers_saved_ = 0;
  std::set<NvmePath*> connecting_;
  NvmeDiscovery discovery_;
};

NvmeDiscoveryHandlers::NvmeDiscoveryHandlers(Appliance& appliance) : appliance_(appliance) {}
NvmeDiscoveryHandlers::~NvmeDiscoveryHandlers() = default;

void NvmeDiscoveryHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_nvme_start_discovery", this, &NvmeDiscoveryHandlers::Start);
  dispatcher.Bind("bdev_nvme_stop_discovery", this, &NvmeDiscoveryHandlers::Stop);
  dispatcher.Bind("bdev_nvme_get_discovery_info", this, &NvmeDiscoveryHandlers::GetInfo);
}

Task<Result<v1::BdevNvmeStartDiscoveryResponse>> NvmeDiscoveryHandlers::Start(
    v1::BdevNvmeStartDiscoveryRequest request, rpc::Caller caller) {
  ASSIGN_OR_CO_RETURN(NvmeDiscoveryOptions options, NvmeDiscoveryOptionsOf(request));
  // What is lost and still named is wanted: without a word about it, for ever.
  NvmeReconnecting& retry = options.reconnecting;
  const NvmeReconnecting& usual = appliance_.nvme().options().reconnecting;
  if (retry.loss_timeout_sec == 0) retry = usual;
  if (retry.loss_timeout_sec == 0) retry = {.loss_timeout_sec = -1, .delay_sec = 1};
  for (const auto& [name, other] : followed_) {
    if (name == request.name()) {
      co_return ErrorOfField(EEXIST, "name", name, "a discovery has this name already");
    }
    if (SameNvmePlace(other->discovery().options().id, options.id)) {
      co_return ErrorOfField(EEXIST, "traddr", request.traddr(),
                             absl::StrFormat("discovery '%s' follows it already", name));
    }
  }
  const std::string name = request.name();
  const uint64_t timeout_ms = request.attach_timeout_ms();
  const bool wait = (request.wait_for_attach() || timeout_ms != 0) && !caller.replay;
  const auto made =
      followed_.emplace(name, std::make_unique<Followed>(appliance_, std::move(request), options));
  Followed& followed = *made.first->second;
  followed.Save();
  followed.discovery().Start();
  if (!wait) co_return Done<v1::BdevNvmeStartDiscoveryResponse>();

  // What is attached takes the turn.
  if (caller.turn != nullptr) caller.turn->GiveBack();
  constexpr uint64_t kTimeoutMaxMs = uint64_t{365} * 24 * 3600 * 1000;
  const uint64_t deadline_ns = timeout_ms == 0 ? Loop::kNever
                                               : appliance_.control().NowNs() +
                                                     std::min(timeout_ms, kTimeoutMaxMs) * kNsPerMs;
  const Status status = co_await followed.discovery().WaitUntilTried(deadline_ns);
  // Who stopped it meanwhile forgets it, too.
  const bool forget = !status.ok() && !followed.discovery().stopping();
  if (forget) co_await Forget(name);
  if (caller.turn != nullptr) {
    Turn::Holder again = co_await appliance_.dispatcher().turn().Take();
    *caller.turn = std::move(again);
  }
  if (forget && !followed_.contains(name)) {
    appliance_.configuration().Erase(IdOf(name));
    CO_RETURN_IF_ERROR(co_await appliance_.configuration().Commit());
  }
  CO_RETURN_IF_ERROR(status);
  co_return Done<v1::BdevNvmeStartDiscoveryResponse>();
}

Task<void> NvmeDiscoveryHandlers::Forget(std::string name) {
  co_await followed_.at(name)->discovery().Stop(/*detach=*/true);
  followed_.erase(name);
}

Task<Result<v1::BdevNvmeStopDiscoveryResponse>> NvmeDiscoveryHandlers::Stop(
    v1::BdevNvmeStopDiscoveryRequest request, rpc::Caller caller) {
  const auto found = followed_.find(request.name());
  if (found == followed_.end()) {
    co_return ErrorOfField(ENOENT, "name", request.name(), "there is no such discovery");
  }
  if (found->second->discovery().stopping()) {
    co_return ErrorOfField(EALREADY, "name", request.name(), "it is being stopped already");
  }
  appliance_.configuration().Erase(IdOf(request.name()));
  // The name stays taken until all is detached, which needs turns.
  if (caller.turn != nullptr) caller.turn->GiveBack();
  co_await Forget(request.name());
  co_return Done<v1::BdevNvmeStopDiscoveryResponse>();
}

Task<Result<v1::BdevNvmeGetDiscoveryInfoResponse>> NvmeDiscoveryHandlers::GetInfo(
    v1::BdevNvmeGetDiscoveryInfoRequest /*request*/) {
  v1::BdevNvmeGetDiscoveryInfoResponse response;
  for (const auto& [name, followed] : followed_) {
    const NvmeDiscovery& discovery = followed->discovery();
    v1::NvmeDiscoveryInfo& info = *response.add_discoveries();
    info.set_name(name);
    DescribeTransport(discovery.options().id, *info.mutable_trid());
    for (const pollux_nvme_transport_id& id : discovery.referrals()) {
      DescribeTransport(id, *info.add_referrals()->mutable_trid());
    }
    const Status failure = discovery.failure();
    if (!failure.ok()) info.set_error(std::string(failure.message()));
  }
  co_return response;
}

void NvmeDiscoveryHandlers::OnPathGone(const NvmeAttachment& attachment, const Status& /*why*/) {
  for (const auto& [name, followed] : followed_) followed->discovery().OnPathGone(attachment);
}

void NvmeDiscoveryHandlers::End() {
  for (const auto& [name, followed] : followed_) {
    if (!followed->discovery().stopping()) appliance_.Spawn(EndOne(followed.get()));
  }
}

Task<void> NvmeDiscoveryHandlers::EndOne(Followed* followed) {
  co_await followed->discovery().Stop(/*detach=*/false);
}

}  // namespace pollux::service
