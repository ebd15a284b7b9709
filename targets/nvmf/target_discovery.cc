// What hosts find: the discovery log, referrals, and who hears of changes.
#include <algorithm>
#include <limits>

#include "core/log.h"
#include "targets/nvmf/discovery_log.h"
#include "targets/nvmf/names.h"
#include "targets/nvmf/target_impl.h"

namespace pollux::nvmf {

// Once for many changes: a host that is told reads the log as it is then.
void NvmfTarget::Impl::DiscoveryChanged() {
  ++discovery_generation_;
  if (!telling_discovery_ && started_ && !stopping_) tasks_.Spawn(TellDiscovery());
}

Task<void> NvmfTarget::Impl::TellDiscovery() {
  telling_discovery_ = true;
  uint64_t told = 0;
  while (told != discovery_generation_) {
    told = discovery_generation_;
    co_await discovery().views().Tell(SubsystemEvent::kDiscoveryChanged);
  }
  telling_discovery_ = false;
}

std::string NvmfTarget::Impl::DiscoveryLog(const ControllerIdentity& identity) {
  std::vector<DiscoveryEntry> entries;
  const Listeners::Listener* const asked = listeners.Find(identity.listener_id);
  if (asked == nullptr) return MakeDiscoveryLog(discovery_generation_, entries);
  const DiscoveryAsker asker{.listener = asked->address, .local_address = identity.local_address};

  for (const auto& subsystem : subsystems) {
    if (subsystem->removing || !subsystem->Admits(identity.hostnqn)) continue;
    for (const auto& owned : subsystem->listeners()) {
      const Listeners::Listener* const open = listeners.Find(owned->id);
      if (open == nullptr || owned->leaving) continue;
      DiscoveryEntry entry{.address = owned->address, .subnqn = subsystem->nqn()};
      if (!ShowTo(asker, options, entry.address)) continue;
      entry.port_id = static_cast<uint16_t>(open->id);
      entry.admin_depth = open->transport->options().max_aq_depth;
      entry.secure_channel = owned->secure_channel;
      if (subsystem->discovery()) {
        entry.subtype = nvme::kSubtypeCurrentDiscovery;
        entry.flags = nvme::kEflagPersistent;
        const bool same_everywhere =
            !options.filter_transport && !options.filter_address && !options.filter_svcid;
        if (same_everywhere) entry.flags |= nvme::kEflagDuplicate;
      }
      entries.push_back(std::move(entry));
    }
  }
  for (const Referral& referral : referrals) {
    entries.push_back({.address = referral.address,
                       .subnqn = referral.subnqn,
                       .subtype = nvme::kSubtypeReferral,
                       .admin_depth = TransportOptions().max_aq_depth,
                       .secure_channel = referral.secure_channel});
  }
  return MakeDiscoveryLog(discovery_generation_, entries);
}

// --- Referrals. A host follows them by itself, so they may lead to what we do not serve.

Status NvmfTarget::Impl::AddReferral(Referral referral) {
  if (referral.secure_channel) {
    return ErrorOfField(ENOTSUP, "secure_channel", "true", "this version has no TLS");
  }
  RETURN_IF_ERROR(ValidateNqn("subnqn", referral.subnqn));
  const Result<ResolvedAddress> resolved = Resolve(referral.address, kDefaultDiscoveryPort);
  RETURN_IF_ERROR(Within("address", resolved.status()));
  referral.address = resolved->text;
  const auto same = [&referral](const Referral& other) {
    return other.address == referral.address && other.subnqn == referral.subnqn;
  };
  if (std::any_of(referrals.begin(), referrals.end(), same)) {
    return ErrorOfField(EEXIST, "address", ToString(referral.address),
                        "there is a referral to it already");
  }
  if (referrals.size() >= kReferralsMax) {
    return NoSpace("there are %d referrals already", kReferralsMax);
  }
  referrals.push_back(std::move(referral));
  DiscoveryChanged();
  return OkStatus();
}

Status NvmfTarget::Impl::RemoveReferral(const ListenAddress& address, const std::string& subnqn) {
  const Result<ResolvedAddress> resolved = Resolve(address, kDefaultDiscoveryPort);
  RETURN_IF_ERROR(Within("address", resolved.status()));
  const size_t removed = std::erase_if(referrals, [&](const Referral& referral) {
    return referral.address == resolved->text && referral.subnqn == subnqn;
  });
  if (removed == 0) {
    return ErrorOfField(ENOENT, "address", ToString(resolved->text), "there is no such referral");
  }
  DiscoveryChanged();
  return OkStatus();
}

}  // namespace pollux::nvmf
