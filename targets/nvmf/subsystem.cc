#include "targets/nvmf/subsystem.h"

#include <algorithm>

#include "core/check.h"
#include "core/log.h"
#include "targets/nvmf/listen_address.h"
#include "targets/nvmf/names.h"

namespace pollux::nvmf {
namespace {

constexpr size_t kSerialBytesMax = 20, kModelBytesMax = 40;  // Figure 275
constexpr size_t kLabelBytesMax = 255;

std::shared_ptr<const SubsystemFacts> FactsOf(const SubsystemSpec& spec,
                                              const TargetOptions& options) {
  auto facts = std::make_shared<SubsystemFacts>();
  facts->nqn = spec.nqn;
  facts->discovery = spec.nqn == nvme::kDiscoveryNqn;
  facts->serial_number = spec.serial_number;
  facts->model_number = spec.model_number;
  facts->namespaces_max = spec.max_namespaces;
  facts->ana_reporting = spec.ana_reporting;
  facts->cntlid_min = spec.min_cntlid;
  facts->cntlid_max = spec.max_cntlid;
  facts->dmrsl = spec.dmrsl;
  facts->wzsl = spec.wzsl;
  facts->crdt = {options.crdt1, options.crdt2, options.crdt3};
  return facts;
}

}  // namespace

Status Validate(const SubsystemSpec& spec) {
  RETURN_IF_ERROR(ValidateNqn("nqn", spec.nqn));
  RETURN_IF_ERROR(ValidateAscii("serial_number", spec.serial_number, kSerialBytesMax));
  RETURN_IF_ERROR(ValidateAscii("model_number", spec.model_number, kModelBytesMax));
  if (!spec.admin_label.empty()) {
    RETURN_IF_ERROR(ValidateAscii("admin_label", spec.admin_label, kLabelBytesMax));
  }
  if (spec.max_namespaces < 1 || spec.max_namespaces > kNamespacesMax) {
    return InvalidField("max_namespaces", spec.max_namespaces, "must be 1 to %d", kNamespacesMax);
  }
  if (spec.min_cntlid < 1 || spec.min_cntlid > nvme::kCntlidMax) {
    return InvalidField("min_cntlid", spec.min_cntlid, "must be 1 to %d", nvme::kCntlidMax);
  }
  if (spec.max_cntlid < spec.min_cntlid || spec.max_cntlid > nvme::kCntlidMax) {
    return InvalidField("max_cntlid", spec.max_cntlid, "must be min_cntlid to %d",
                        nvme::kCntlidMax);
  }
  return OkStatus();
}

Subsystem::Subsystem(SubsystemSpec spec, const TargetOptions& options, DeviceRegistry& devices,
                     const Workers& workers)
    : spec_(std::move(spec)),
      facts_(FactsOf(spec_, options)),
      views_(spec_.nqn, workers),
      namespaces_(spec_.nqn, spec_.max_namespaces, devices, views_, turn_) {}

Subsystem::~Subsystem() = default;

Task<void> Subsystem::Shutdown() {
  removing = true;
  co_await namespaces_.Shutdown();
  while (!listeners_.empty()) {
    const ListenAddress address = listeners_.back()->address;
    co_await RemoveListener(address);
  }
  co_await views_.Remove();
}

// --- Hosts.

Status Subsystem::AddHost(const std::string& hostnqn) {
  RETURN_IF_ERROR(ValidateNqn("host", hostnqn));
  if (hosts_.size() >= kHostsMax) return NoSpace("a subsystem has at most %d hosts", kHostsMax);
  if (!hosts_.insert(hostnqn).second) {
    return ErrorOfField(EEXIST, "host", Printable(hostnqn), "is admitted already");
  }
  return OkStatus();
}

Status Subsystem::RemoveHost(const std::string& hostnqn) {
  if (hosts_.erase(hostnqn) > 0) return OkStatus();
  return ErrorOfField(ENOENT, "host", Printable(hostnqn), "is not in the subsystem's list");
}

// --- Listeners.

Subsystem::Listener* Subsystem::FindListener(const ListenAddress& address) {
  for (const auto& listener : listeners_) {
    if (listener->address == address) return listener.get();
  }
  return nullptr;
}

bool Subsystem::HasListener(uint32_t id) const {
  return id != 0 && std::any_of(listeners_.begin(), listeners_.end(), [id](const auto& listener) {
           return listener->id == id && !listener->leaving;
         });
}

Status Subsystem::CheckNewListener(nvme::AnaState state) const {
  if (listeners_.size() >= kListenersMax) {
    return NoSpace("a subsystem has at most %d listeners", kListenersMax);
  }
  if (state != nvme::AnaState::kOptimized && !spec_.ana_reporting) {
    return ErrorOfField(EINVAL, "ana_state", "", "the subsystem was made without ana_reporting");
  }
  return OkStatus();
}

Subsystem::Listener& Subsystem::AddListener(ListenAddress address, nvme::AnaState state,
                                            bool secure_channel) {
  auto listener = std::make_unique<Listener>();
  listener->address = std::move(address);
  listener->made_as = state;
  listener->secure_channel = secure_channel;
  if (spec_.ana_reporting) {
    listener->states.assign(spec_.max_namespaces + 1, state);
    listener->change_counts.assign(spec_.max_namespaces + 1, 0);
  }
  listeners_.push_back(std::move(listener));
  return *listeners_.back();
}

Task<void> Subsystem::Show(const Listener& listener, uint32_t id) {
  if (id == 0) co_return;
  const ListenerView shown{.id = id,
                           .states = listener.states,
                           .change_counts = listener.change_counts,
                           .change_count = listener.change_count};
  auto show = [&shown](SubsystemView& view, size_t) { view.SetListener(shown); };
  co_await views_.ForEach(show);
}

// Nobody is admitted before its states are shown everywhere, since a queue looks for them once.
Task<void> Subsystem::OnListenerOpened(ListenAddress address, uint32_t id, ListenAddress bound) {
  const Turn::Holder held = co_await turn_.Take();
  Listener* const listener = FindListener(address);
  CHECK(listener != nullptr);
  if (!discovery()) co_await Show(*listener, id);
  listener->id = id;
  listener->address = std::move(bound);
}

Task<void> Subsystem::RemoveListener(ListenAddress address) {
  const Turn::Holder held = co_await turn_.Take();
  const Listener* const listener = FindListener(address);
  if (listener == nullptr) co_return;
  if (listener->id != 0) {
    auto hide = [id = listener->id](SubsystemView& view, size_t) { view.RemoveListener(id); };
    co_await views_.ForEach(hide);
  }
  std::erase_if(listeners_, [listener](const auto& owned) { return owned.get() == listener; });
}

Task<Status> Subsystem::SetAnaState(ListenAddress address, nvme::AnaState state, uint32_t group) {
  const Turn::Holder held = co_await turn_.Take();
  Listener* const listener = FindListener(address);
  if (listener == nullptr) {
    co_return ErrorOfField(ENOENT, "listen_address", ToString(address),
                           "the subsystem has no such listener");
  }
  if (!spec_.ana_reporting) {
    co_return ErrorOfField(EINVAL, "nqn", Printable(nqn()),
                           "the subsystem was made without ana_reporting");
  }
  if (group > spec_.max_namespaces) {
    co_return InvalidField("anagrpid", group, "this subsystem has ANA groups 1 to %d",
                           spec_.max_namespaces);
  }
  const uint32_t first = group == 0 ? 1 : group;
  const uint32_t last = group == 0 ? spec_.max_namespaces : group;
  bool changed = false;
  for (uint32_t g = first; g <= last; ++g) {
    if (listener->states[g] == state) continue;
    listener->states[g] = state;
    ++listener->change_counts[g];
    changed = true;
  }
  if (changed) {
    ++listener->change_count;
    co_await Show(*listener, listener->id);
    if (listener->id != 0) co_await views_.Tell(SubsystemEvent::kAnaChanged, listener->id);
  }
  co_return OkStatus();
}

Task<void> Subsystem::CountChange(std::set<uint32_t> groups) {
  std::vector<Listener*> listeners;  // They stay while the turn is held; others may come.
  for (const auto& listener : listeners_) listeners.push_back(listener.get());
  for (Listener* listener : listeners) {
    for (const uint32_t group : groups) {
      if (group < listener->change_counts.size()) ++listener->change_counts[group];
    }
    ++listener->change_count;
    co_await Show(*listener, listener->id);
  }
  co_await views_.Tell(SubsystemEvent::kAnaChanged);
}

Task<Status> Subsystem::SetAnaGroup(uint32_t nsid, uint32_t group) {
  if (!spec_.ana_reporting) {
    co_return ErrorOfField(EINVAL, "nqn", Printable(nqn()),
                           "the subsystem was made without ana_reporting");
  }
  ASSIGN_OR_CO_RETURN(const uint32_t before, co_await namespaces_.SetAnaGroup(nsid, group));
  if (before == group) co_return OkStatus();
  const Turn::Holder held = co_await turn_.Take();
  std::set<uint32_t> groups{before, group};
  co_await CountChange(std::move(groups));
  co_return OkStatus();
}

// --- For people.

SubsystemInfo Subsystem::info() const {
  SubsystemInfo info;
  info.spec = spec_;
  info.discovery = discovery();
  info.hosts.assign(hosts_.begin(), hosts_.end());
  for (const auto& listener : listeners_) {
    ListenerInfo shown{.address = listener->address,
                       .secure_channel = listener->secure_channel,
                       .ana_state = listener->made_as,
                       .ana_states = {},
                       .pending = listener->id == 0,
                       .reason = {}};
    if (!listener->states.empty()) {
      shown.ana_states.assign(listener->states.begin() + 1, listener->states.end());
    }
    if (shown.pending && !listener->why.ok()) shown.reason = DetailOf(listener->why).reason;
    info.listeners.push_back(std::move(shown));
  }
  info.namespaces = namespaces_.infos();
  return info;
}

}  // namespace pollux::nvmf
