#pragma once
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/turn.h"
#include "targets/nvmf/namespaces.h"
#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/past_hosts.h"

namespace pollux::nvmf {

inline constexpr size_t kHostsMax = 4096;      // Of a subsystem.
inline constexpr size_t kListenersMax = 1024;  // Likewise.

// A subsystem as the control loop knows it: its namespaces, the hosts that it admits, and the
// listeners through which it is reached, with their ANA states. Control loop only.
class Subsystem {
 public:
  // What opens addresses: see listeners.h. 0 in `id`: it is not open, and `why` says so.
  struct Listener {
    ListenAddress address;
    bool secure_channel = false;
    nvme::AnaState made_as = nvme::AnaState::kOptimized;
    uint32_t id = 0;
    Status why;
    bool leaving = false;  // Nobody comes in through it any more.
    // Groups 1 to namespaces_max with their states and how often each has changed. Empty without
    // ANA reporting.
    std::vector<nvme::AnaState> states;
    std::vector<uint64_t> change_counts;
    uint64_t change_count = 0;
  };

  Subsystem(SubsystemSpec spec, const TargetOptions& options, DeviceRegistry& devices,
            const Workers& workers);
  ~Subsystem();  // After Shutdown().

  // Shows it to the reactors.
  Task<void> Start() { return views_.Add(facts_); }
  // No controller of it is left: takes everything from the reactors.
  Task<void> Shutdown();

  const std::string& nqn() const { return spec_.nqn; }
  const SubsystemSpec& spec() const { return spec_; }
  bool discovery() const { return facts_->discovery; }
  SubsystemInfo info() const;
  Views& views() { return views_; }
  Namespaces& namespaces() { return namespaces_; }
  const Namespaces& namespaces() const { return namespaces_; }
  PastHosts& past_hosts() { return past_hosts_; }
  const PastHosts& past_hosts() const { return past_hosts_; }

  // --- Hosts.
  bool Admits(const std::string& hostnqn) const {
    return spec_.allow_any_host || hosts_.contains(hostnqn);
  }
  Status AddHost(const std::string& hostnqn);
  Status RemoveHost(const std::string& hostnqn);
  void AllowAnyHost(bool allow) { spec_.allow_any_host = allow; }

  // --- Listeners. `address` is in the spelling of Resolve().
  Listener* FindListener(const ListenAddress& address);
  bool HasListener(uint32_t id) const;
  const std::vector<std::unique_ptr<Listener>>& listeners() const { return listeners_; }
  Status CheckNewListener(nvme::AnaState state) const;
  Listener& AddListener(ListenAddress address, nvme::AnaState state, bool secure_channel);
  // It is open, as `bound`. Reactors know it from here on by its id, then hosts are admitted by it.
  Task<void> OnListenerOpened(ListenAddress address, uint32_t id, ListenAddress bound);
  Task<void> RemoveListener(ListenAddress address);
  // `group` 0: all, in one change.
  Task<Status> SetAnaState(ListenAddress address, nvme::AnaState state, uint32_t group);
  Task<Status> SetAnaGroup(uint32_t nsid, uint32_t group);

  // It is being deleted: nobody comes in, and nothing of it is changed any more.
  bool removing = false;

 private:
  Task<void> Show(const Listener& listener, uint32_t id);
  Task<void> CountChange(std::set<uint32_t> groups);

  SubsystemSpec spec_;
  const std::shared_ptr<const SubsystemFacts> facts_;
  std::set<std::string> hosts_;
  PastHosts past_hosts_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Views views_;
  Turn turn_;
  Namespaces namespaces_;
};

// What is wrong with it, or OK. The name is not compared with others.
Status Validate(const SubsystemSpec& spec);

}  // namespace pollux::nvmf
