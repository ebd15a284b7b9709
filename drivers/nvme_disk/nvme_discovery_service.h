#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/memory/memory.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_environment.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "drivers/nvme_disk/nvme_poller.h"

namespace pollux {

// Where a discovery service is, and as whom it is asked.
struct NvmeDiscoveryPlace {
  pollux_nvme_transport_id id{};
  std::string hostnqn;
  uint32_t keep_alive_ms = 0;        // 0: the driver's own.
  uint32_t reconnect_delay_sec = 0;  // 0: one second.
};

// One discovery controller that is kept attached, and what its log page said last. When it cannot
// be reached, or is lost, it is tried again for as long as it is followed: what it said stays true
// until it says something else. Control loop only.
class NvmeDiscoveryService final : private nvme::DiscoveryReader, private NvmePoller::Owner {
 public:
  class Owner {
   public:
    // The log page was read, or something failed that did not fail before.
    virtual void OnDiscoveryService() = 0;

   protected:
    ~Owner() = default;
  };

  NvmeDiscoveryService(const NvmeEnvironment& environment, NvmeDiscoveryPlace place, Owner& owner);
  ~NvmeDiscoveryService();  // Follow() has ended, or was never begun.

  // Once. Returns when End() was called and the controller is detached.
  Task<void> Follow();
  void End();

  const pollux_nvme_transport_id& id() const { return place_.id; }
  // The first try has ended, one way or the other.
  bool tried() const { return heard_ || !failure_.ok(); }
  // The log page has been read.
  bool heard() const { return heard_; }
  const std::vector<pollux_nvme_discovery_entry>& entries() const { return entries_; }
  // Why it is not heard now, or OK.
  const Status& failure() const { return failure_; }

 private:
  Task<Status> Attach();
  Task<Status> Watch();
  Task<Status> ReadLog();
  Task<void> Detach();
  void Fail(Status why);
  Status FailureOfController() const;
  uint64_t delay_ns() const;
  bool ready() const;

  uint64_t PollPeriodNs() const override;
  void OnPolled() override { polled_.Pulse(); }
  static void OnEvent(void* context, pollux_nvme_controller*, const pollux_nvme_event* event);
  void OnDiscoveryLog(int error, const pollux_nvme_discovery_log* log) override;

  const NvmeEnvironment environment_;
  const NvmeDiscoveryPlace place_;
  const std::string name_;  // For messages.
  Owner& owner_;

  std::unique_ptr<SharedPages> memory_;
  nvme::Host host_;
  pollux_nvme_controller* controller_ = nullptr;
  bool ending_ = false;
  bool changed_ = false;  // The page is to be read.
  bool reading_ = false;
  Status read_;  // How the last reading ended.
  bool heard_ = false;
  std::vector<pollux_nvme_discovery_entry> entries_;
  Status failure_;

  Event polled_;  // And End().
  NvmePoller poller_{environment_.control, *this};
};

}  // namespace pollux
