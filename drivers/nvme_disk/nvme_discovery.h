#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/task_group.h"
#include "drivers/nvme_disk/nvme_discovery_service.h"
#include "drivers/nvme_disk/nvme_environment.h"
#include "drivers/nvme_disk/nvme_options.h"

namespace pollux {

// What bdev_nvme_start_discovery says.
struct NvmeDiscoveryOptions {
  std::string name;  // "nvme": the subsystems become nvme0, nvme1 and so on.
  pollux_nvme_transport_id id{};
  std::string hostnqn;
  NvmeReconnecting reconnecting;
  // The subsystems that have a number, which is their place here. Empty: a number that is not used.
  std::vector<std::string> subsystems;
};

// Follows a discovery service, and those that it refers to: what their log pages name is attached,
// what they name no longer is detached, address by address. A subsystem keeps the number that it
// got when it was seen first. Control loop only.
//
//   made --Start--> following --Stop--> stopped
class NvmeDiscovery final : private NvmeDiscoveryService::Owner {
 public:
  static constexpr size_t kServicesMax = 16;
  static constexpr int kReferralDepthMax = 4;
  static constexpr size_t kPathsMax = 256;  // Each one takes memory of its own.
  static constexpr size_t kAttachesAtOnce = 8;

  // Who attaches and detaches.
  class Paths {
   public:
    // EEXIST, EALREADY: somebody has attached it, whose it stays. Other errors: it is tried again.
    virtual Task<Status> Attach(NvmeAttachment attachment) = 0;
    // Ends an Attach() that is under way.
    virtual void CancelAttach(const NvmeAttachment& attachment) = 0;
    // Of one that Attach() attached; it may have gone since.
    virtual Task<void> Detach(NvmeAttachment attachment) = 0;
    // A controller has this name that is none of the discovery's.
    virtual bool IsTaken(const std::string& name) const = 0;

   protected:
    ~Paths() = default;
  };

  // `paths` outlives it.
  NvmeDiscovery(const NvmeEnvironment& environment, NvmeDiscoveryOptions options,
                uint32_t keep_alive_ms, Paths& paths);
  ~NvmeDiscovery();  // Never started, or after Stop().

  void Start();
  // Until everything that was found at first has been tried to attach. ETIMEDOUT; ECANCELED when it
  // is stopped. `deadline_ns` is the loop's; Loop::kNever: without limit.
  Task<Status> WaitUntilTried(uint64_t deadline_ns);
  // Follows no longer, and, with `detach`, detaches what was attached. Once.
  Task<void> Stop(bool detach);
  // One that it attached has gone by itself: it is tried again.
  void OnPathGone(const NvmeAttachment& attachment);

  // With the numbers as they are now.
  const NvmeDiscoveryOptions& options() const { return options_; }
  bool stopping() const { return stopping_; }
  std::vector<pollux_nvme_transport_id> referrals() const;
  // Why the service is not heard, or OK.
  Status failure() const;

 private:
  // An address of a subsystem.
  struct Path {
    enum class State : uint8_t { kWaiting, kAttaching, kAttached, kNotOurs, kDetaching };
    NvmeAttachment attachment;
    State state = State::kWaiting;
    bool wanted = true;
    bool tried = false;
    uint64_t due_ns = 0;    // While waiting: when it is tried.
    uint64_t delay_ns = 0;  // Before the next try.
  };
  struct Followed {
    std::unique_ptr<NvmeDiscoveryService> service;
    bool ended = false;
  };
  using Key = std::string;  // Of a place.

  static Key KeyOf(const pollux_nvme_transport_id& id);
  void OnDiscoveryService() override;
  Task<void> Run();
  void Follow(const pollux_nvme_transport_id& id);
  Task<void> RunService(std::string key);
  Task<void> AttachPath(std::string key);
  Task<void> DetachPath(std::string key);

  void FindServices();
  void FindPaths();
  void AddPath(const Key& key, const pollux_nvme_transport_id& id);
  std::string NameOf(const std::string& subnqn);
  // What is due is begun. When to look again.
  uint64_t BeginDue();
  bool tried() const;

  const NvmeEnvironment environment_;
  NvmeDiscoveryOptions options_;
  const uint32_t keep_alive_ms_;
  Paths& paths_interface_;
  std::map<Key, std::shared_ptr<Followed>> services_;
  std::map<Key, Path> paths_;
  size_t attaching_ = 0;
  bool too_many_told_ = false;
  bool started_ = false;
  bool looked_ = false;  // At least once since the last change.
  bool stopping_ = false;
  Event changed_;
  bool dirty_ = false;
  TaskGroup tasks_;
};

}  // namespace pollux
