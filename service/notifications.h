#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/event.h"
#include "core/host_observer.h"
#include "core/loop.h"
#include "core/method_call.h"
#include "service/configuration.h"
#include "service/watchdog.h"

namespace pollux::service {

// The last kCapacity events, numbered from 0: what notify_get_notifications and Events.Watch tell.
// Control loop only.
class Notifications final : public DeviceRegistry::Observer,
                            public Configuration::Observer,
                            public HostObserver,
                            public Watchdog::Observer {
 public:
  static constexpr size_t kCapacity = 1024;

  struct Event {
    std::string type;  // One of Types().
    std::string kind;  // Of the object: "bdev", or as in ObjectId.
    std::string name;
    std::string reason;   // Empty where there is none.
    int64_t time_ms = 0;  // Since 1970.
    uint64_t id = 0;
  };

  explicit Notifications(Loop& control) : control_(control) {}
  ~Notifications() { control_.CancelDeferred(tell_); }

  static std::vector<std::string> Types();

  // Events from `id` on, at most `count`. An id that is too old is moved up to the oldest one kept.
  std::vector<Event> From(uint64_t id, uint64_t count) const;
  uint64_t oldest_id() const { return next_id_ - events_.size(); }
  uint64_t next_id() const { return next_id_; }

  // Pulsed at the end of a turn in which something happened, and by End().
  pollux::Event& changed() { return changed_; }
  // Nobody shall wait any more: the process stops.
  void End();
  bool ended() const { return ended_; }

 private:
  void OnRegistered(BlockDevice& device) override { Add("bdev_register", {"bdev", device.name()}); }
  void OnUnregistered(const std::string& name) override { Add("bdev_unregister", {"bdev", name}); }
  void OnResized(BlockDevice& device) override { Add("bdev_resize", {"bdev", device.name()}); }
  void OnTimedOut(const std::string& name) override { Add("bdev_timeout", {"bdev", name}); }

  void OnCreated(const ObjectId& id) override;
  void OnChanged(const ObjectId& id) override;
  void OnRemoved(const ObjectId& id, bool was_pending) override;
  void OnPending(const ObjectId& id, const Status& why) override;
  void OnRestored(const ObjectId& id) override { Add("config_restored", id); }

  void OnHostConnected(const char* kind, const std::string& host,
                       const std::string& target) override {
    Add("host_connected", {kind, host + " " + target});
  }
  void OnHostDisconnected(const char* kind, const std::string& host,
                          const std::string& target) override {
    Add("host_disconnected", {kind, host + " " + target});
  }

  void OnStuck(const Loop& loop, const std::string& why) override {
    Add("reactor_stuck", {"reactor", loop.name()}, why);
  }
  void OnTurnsAgain(const Loop& loop, const std::string& how_long) override {
    Add("reactor_turns_again", {"reactor", loop.name()}, how_long);
  }

  void Add(const std::string& type, const ObjectId& id, std::string reason = {});
  void Tell() { changed_.Pulse(); }

  Loop& control_;
  std::deque<Event> events_;
  uint64_t next_id_ = 0;
  bool ended_ = false;
  pollux::Event changed_;
  DeferredCall<Notifications, &Notifications::Tell> tell_{*this};
};

}  // namespace pollux::service
