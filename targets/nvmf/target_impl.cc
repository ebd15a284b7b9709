// Start and stop, subsystems, and where they are reached.
#include "targets/nvmf/target_impl.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "targets/nvmf/options.h"

namespace pollux::nvmf {

NvmfTarget::Impl::Impl(Environment environment) : env(environment) {}

NvmfTarget::Impl::~Impl() {
  CHECK(registry.size() == 0 && subsystems.empty(), "an NVMe-oF target was destroyed before Stop");
}

Task<Status> NvmfTarget::Impl::Start(TargetOptions wanted) {
  CHECK(!started_);
  options = std::move(wanted);
  const size_t reactors = env.reactors.size();
  ASSIGN_OR_CO_RETURN(small_buffers_, ReactorBuffers::Make(env.memory, kSmallBuffersConsumer,
                                                           reactors, SmallBuffersOf(options)));
  ASSIGN_OR_CO_RETURN(large_buffers_, ReactorBuffers::Make(env.memory, kLargeBuffersConsumer,
                                                           reactors, LargeBuffersOf(options)));
  for (size_t i = 0; i < reactors; ++i) {
    const Worker::Environment on_reactor{.reactor = env.reactors[i],
                                         .control = env.control,
                                         .control_side = *this,
                                         .small_buffers = small_buffers_->of(i),
                                         .large_buffers = large_buffers_->of(i)};
    workers_.push_back(std::make_unique<Worker>(on_reactor));
  }
  past_.resize(reactors);
  started_ = true;
  env.devices.AddObserver(*this);

  SubsystemSpec spec;
  spec.nqn = nvme::kDiscoveryNqn;
  spec.allow_any_host = true;
  subsystems.push_back(std::make_unique<Subsystem>(spec, options, env.devices, workers_));
  by_nqn_.emplace(spec.nqn, subsystems.back().get());
  co_await discovery().Start();
  co_return OkStatus();
}

Task<void> NvmfTarget::Impl::Stop(uint64_t drain_ns) {
  stopping_ = true;
  if (!started_) co_return;
  listeners.CloseAll();
  co_await DrainIoQueues(env.control.NowNs() + drain_ns);
  for (const auto& transport : listeners.transports()) {
    co_await transport->CloseConnections(0, "the target stops");
  }
  while (registry.size() > 0) co_await registry.changed();
  co_await tasks_.Drained();
  const Turn::Holder mine = co_await turn_.Take();
  env.devices.RemoveObserver(*this);
  while (!subsystems.empty()) {
    co_await subsystems.back()->Shutdown();
    by_nqn_.erase(subsystems.back()->nqn());
    subsystems.pop_back();
  }
  log_.Settle();
  for (const auto& worker : workers_) {
    Worker& w = *worker;
    auto settle = [&w] { w.log().Settle(); };
    co_await RunOn(w.reactor(), settle);
  }
  listeners.DropTransports();
  workers_.clear();
  small_buffers_.reset();
  large_buffers_.reset();
  started_ = false;
}

Task<void> NvmfTarget::Impl::DrainIoQueues(uint64_t deadline_ns) {
  constexpr uint64_t kLookEveryNs = 5 * kNsPerMs;
  const auto has_io_queues = [this] {
    const std::vector<ControllerRegistry::Handle> all = registry.All();
    return std::any_of(all.begin(), all.end(), [](const auto& controller) {
      return controller->queues.upper_bound(0) != controller->queues.end();
    });
  };
  while (has_io_queues() && env.control.NowNs() < deadline_ns) {
    for (const auto& worker : workers_) {
      Worker& w = *worker;
      auto end_idle = [&w] {
        const std::vector<Queue*> queues = w.queues();
        for (Queue* queue : queues) {
          if (queue->state() == Queue::State::kIo && queue->in_flight() == 0) {
            queue->End("the target stops");
          }
        }
      };
      co_await RunOn(w.reactor(), end_idle);
    }
    if (!has_io_queues()) break;
    const uint64_t look_again_ns = std::min(deadline_ns, env.control.NowNs() + kLookEveryNs);
    co_await registry.changed().Until(look_again_ns);
  }
  if (has_io_queues()) LogNotice("nvmf", "hosts were busy until the end of the time to drain");
}

// The one with the fewest queues. Connections come in bursts, and one that was given to a reactor
// just now is not known to be a queue yet.
Worker& NvmfTarget::Impl::LeastBusyWorker() {
  const uint64_t now_ns = env.control.NowNs();
  while (!given_.empty() && given_.front().at_ns + kGivenForNs < now_ns) given_.pop_front();
  std::vector<size_t> load(workers_.size());
  for (size_t i = 0; i < workers_.size(); ++i) load[i] = registry.QueuesOn(i);
  for (const Given& given : given_) ++load[given.reactor];

  const std::vector<int>& cores = options.poll_group_cores;
  size_t least = workers_.size();
  for (size_t step = 1; step <= workers_.size(); ++step) {
    const size_t i = (last_worker_ + step) % workers_.size();
    const int core = workers_[i]->reactor().core();
    if (!cores.empty() && std::find(cores.begin(), cores.end(), core) == cores.end()) continue;
    if (least == workers_.size() || load[i] < load[least]) least = i;
  }
  if (least == workers_.size()) least = 0;  // None of the cores is ours: checked when it was set.
  last_worker_ = least;
  given_.push_back({least, now_ns});
  return *workers_[least];
}

void NvmfTarget::Impl::Forgive(size_t reactor) {
  const auto given = std::find_if(given_.begin(), given_.end(),
                                  [reactor](const Given& g) { return g.reactor == reactor; });
  if (given != given_.end()) given_.erase(given);
}

// --- Subsystems.

Result<Subsystem*> NvmfTarget::Impl::FindOrFail(const std::string& nqn) const {
  const auto found = by_nqn_.find(nqn);
  if (found != by_nqn_.end() && !found->second->removing) return found->second;
  return ErrorOfField(ENOENT, "nqn", Printable(nqn), "there is no such subsystem");
}

Result<Subsystem*> NvmfTarget::Impl::FindNvm(const std::string& nqn) const {
  ASSIGN_OR_RETURN(Subsystem * subsystem, FindOrFail(nqn));
  if (!subsystem->discovery()) return subsystem;
  return ErrorOfField(EPERM, "nqn", nqn, "this is the discovery subsystem");
}

Task<Status> NvmfTarget::Impl::CreateSubsystem(SubsystemSpec spec) {
  const Turn::Holder mine = co_await turn_.Take();
  CO_RETURN_IF_ERROR(Validate(spec));
  if (by_nqn_.contains(spec.nqn)) {
    co_return AlreadyExists("there is a subsystem %s already", Printable(spec.nqn));
  }
  if (subsystems.size() > options.max_subsystems) {
    co_return NoSpace("there are %d subsystems already", options.max_subsystems);
  }
  subsystems.push_back(
      std::make_unique<Subsystem>(std::move(spec), options, env.devices, workers_));
  Subsystem& subsystem = *subsystems.back();
  by_nqn_.emplace(subsystem.nqn(), &subsystem);
  co_await subsystem.Start();
  co_return OkStatus();
}

Task<Status> NvmfTarget::Impl::DeleteSubsystem(std::string nqn) {
  const Turn::Holder mine = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, FindNvm(nqn));
  subsystem->removing = true;
  DiscoveryChanged();
  const auto every = [](const ControllerRegistry::Controller&) { return true; };
  std::vector<ControllerRegistry::Handle> controllers = registry.Select(nqn, every);
  co_await EndControllers(std::move(controllers), "the subsystem is deleted");
  while (!subsystem->listeners().empty()) {
    const ListenAddress address = subsystem->listeners().back()->address;
    co_await CloseListener(*subsystem, address, "the subsystem is deleted");
  }
  co_await subsystem->Shutdown();
  registry.Forget(nqn);
  by_nqn_.erase(nqn);
  std::erase_if(subsystems, [subsystem](const auto& owned) { return owned.get() == subsystem; });
  co_return OkStatus();
}

void NvmfTarget::Impl::OnRegistered(BlockDevice& device) {
  if (stopping_) return;
  std::vector<std::string> names = device.aliases();
  names.push_back(device.name());
  for (const auto& subsystem : subsystems) {
    if (subsystem->removing || !subsystem->namespaces().AwaitsAnyOf(names)) continue;
    tasks_.Spawn(subsystem->namespaces().AttachPending(names));
  }
}

// --- Listeners.

uint16_t NvmfTarget::Impl::DefaultPortOf(const Subsystem& subsystem) const {
  return subsystem.discovery() ? kDefaultDiscoveryPort : kDefaultPort;
}

Task<Status> NvmfTarget::Impl::OpenListener(Subsystem& subsystem, ListenAddress address) {
  Subsystem::Listener* const listener = subsystem.FindListener(address);
  CHECK(listener != nullptr);
  const Result<ResolvedAddress> resolved = Resolve(address, DefaultPortOf(subsystem));
  Status status = resolved.status();
  uint32_t id = 0;
  ListenAddress bound;
  if (status.ok()) {
    const auto opened = listeners.Open(subsystem.nqn(), *resolved);
    status = opened.status();
    if (opened.ok()) {
      id = (*opened)->id;
      bound = (*opened)->address;
    }
  }
  listener->why = status;
  CO_RETURN_IF_ERROR(status);

  // Whoever comes through it may also ask what else there is.
  auto show = [id](SubsystemView& view, size_t) {
    if (view.FindListener(id) == nullptr) view.SetListener({.id = id});
  };
  co_await discovery().views().ForEach(show);
  co_await subsystem.OnListenerOpened(address, id, bound);
  DiscoveryChanged();
  co_return OkStatus();
}

Task<Result<ListenAddress>> NvmfTarget::Impl::AddListener(std::string nqn, ListenAddress address,
                                                          nvme::AnaState state, bool secure_channel,
                                                          bool retry) {
  const Turn::Holder mine = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, FindOrFail(nqn));
  if (secure_channel) {
    co_return ErrorOfField(ENOTSUP, "secure_channel", "true", "this version has no TLS");
  }
  const Result<ResolvedAddress> resolved = Resolve(address, DefaultPortOf(*subsystem));
  CO_RETURN_IF_ERROR(Within("listen_address", resolved.status()));
  CO_RETURN_IF_ERROR(Within("listen_address", listeners.CheckTransport(resolved->text.trtype)));
  const Subsystem::Listener* const there = subsystem->FindListener(resolved->text);
  if (there != nullptr && (there->id != 0 || !retry)) {
    co_return ErrorOfField(EEXIST, "listen_address", ToString(resolved->text),
                           "the subsystem has this listener already");
  }
  const bool is_new = there == nullptr;
  if (is_new) {
    CO_RETURN_IF_ERROR(subsystem->CheckNewListener(state));
    subsystem->AddListener(resolved->text, state, secure_channel);
  }
  if (held) co_return resolved->text;
  Subsystem::Listener* const listener = subsystem->FindListener(resolved->text);
  const Status opened = co_await OpenListener(*subsystem, resolved->text);
  if (opened.ok()) co_return listener->address;
  if (is_new) co_await subsystem->RemoveListener(resolved->text);
  co_return Within("listen_address", opened);
}

Task<std::vector<NvmfTarget::Unopened>> NvmfTarget::Impl::ReleaseListeners() {
  const Turn::Holder mine = co_await turn_.Take();
  held = false;
  std::vector<Unopened> unopened;
  for (size_t s = 0; s < subsystems.size(); ++s) {
    Subsystem& subsystem = *subsystems[s];
    for (size_t l = 0; l < subsystem.listeners().size(); ++l) {
      if (subsystem.listeners()[l]->id != 0) continue;
      const ListenAddress address = subsystem.listeners()[l]->address;
      const Status opened = co_await OpenListener(subsystem, address);
      if (!opened.ok()) unopened.push_back({subsystem.nqn(), address, opened});
    }
  }
  co_return unopened;
}

Task<void> NvmfTarget::Impl::CloseListener(Subsystem& subsystem, ListenAddress address,
                                           const char* reason) {
  Subsystem::Listener* const listener = subsystem.FindListener(address);
  CHECK(listener != nullptr);
  const uint32_t id = listener->id;
  listener->leaving = true;
  const Listeners::Listener* const open = listeners.Find(id);
  Transport* const transport = open != nullptr ? open->transport : nullptr;
  const bool closed = id != 0 && listeners.Close(subsystem.nqn(), id);

  const auto through_it = [id](const ControllerRegistry::Controller& controller) {
    return controller.identity->listener_id == id;
  };
  if (id != 0 && !subsystem.discovery()) {
    std::vector<ControllerRegistry::Handle> controllers =
        registry.Select(subsystem.nqn(), through_it);
    co_await EndControllers(std::move(controllers), reason);
  }
  if (closed) {
    // With those that discover, and those that are nobody's.
    co_await transport->CloseConnections(id, reason);
    std::vector<ControllerRegistry::Handle> controllers =
        registry.Select(nvme::kDiscoveryNqn, through_it);
    co_await EndControllers(std::move(controllers), reason);
    auto hide = [id](SubsystemView& view, size_t) { view.RemoveListener(id); };
    co_await discovery().views().ForEach(hide);
  }
  if (subsystem.discovery()) listener->id = 0;  // Its view is that of the address.
  co_await subsystem.RemoveListener(address);
  DiscoveryChanged();
}

Task<Status> NvmfTarget::Impl::RemoveListener(std::string nqn, ListenAddress address) {
  const Turn::Holder mine = co_await turn_.Take();
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, FindOrFail(nqn));
  const Result<ResolvedAddress> resolved = Resolve(address, DefaultPortOf(*subsystem));
  CO_RETURN_IF_ERROR(Within("listen_address", resolved.status()));
  if (subsystem->FindListener(resolved->text) == nullptr) {
    co_return ErrorOfField(ENOENT, "listen_address", ToString(resolved->text),
                           "the subsystem has no such listener");
  }
  co_await CloseListener(*subsystem, resolved->text, "the listener is removed");
  co_return OkStatus();
}

Task<Status> NvmfTarget::Impl::SetAnaState(std::string nqn, ListenAddress address,
                                           nvme::AnaState state, uint32_t group) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, FindNvm(nqn));
  const Result<ResolvedAddress> resolved = Resolve(address, DefaultPortOf(*subsystem));
  CO_RETURN_IF_ERROR(Within("listen_address", resolved.status()));
  co_return co_await subsystem->SetAnaState(resolved->text, state, group);
}

}  // namespace pollux::nvmf
