#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/block/device_registry.h"

namespace pollux::service {

// The last kCapacity events, numbered from 0: what notify_get_notifications reads. Control loop
// only.
class Notifications final : public DeviceRegistry::Observer {
 public:
  static constexpr size_t kCapacity = 1024;

  struct Event {
    std::string type;     // One of Types().
    std::string context;  // What it happened to: the device's name.
    uint64_t id;
  };

  static std::vector<std::string> Types();

  // Events from `id` on, at most `count`. An id that is too old is moved up to the oldest one kept.
  std::vector<Event> From(uint64_t id, uint64_t count) const;

 private:
  void OnRegistered(BlockDevice& device) override { Add("bdev_register", device.name()); }
  void OnUnregistered(const std::string& name) override { Add("bdev_unregister", name); }
  void OnResized(BlockDevice& device) override { Add("bdev_resize", device.name()); }
  void OnTimedOut(const std::string& name) override { Add("bdev_timeout", name); }
  void Add(const std::string& type, const std::string& context);

  std::deque<Event> events_;
  uint64_t next_id_ = 0;
};

}  // namespace pollux::service
