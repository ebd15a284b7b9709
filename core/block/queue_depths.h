#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/block/device_registry.h"
#include "core/loop.h"
#include "core/task.h"

namespace pollux {

// Looks now and then how many I/Os and loans devices have in flight on all reactors. Control loop
// only.
class QueueDepths final : public DeviceRegistry::Observer {
 public:
  // More often it does not look, whatever was asked for: it asks every reactor by message.
  static constexpr uint64_t kPeriodMinUs = 100;

  struct Sampled {
    uint64_t period_us = 0;  // As it was set.
    uint64_t queue_depth = 0;
    uint64_t io_time_us = 0;           // How long there was something in flight...
    uint64_t weighted_io_time_us = 0;  // ...multiplied by how much there was.
  };

  // `spawn` starts a task that is waited for before the devices go for good.
  using Spawn = std::function<void(Task<void>)>;
  QueueDepths(Loop& control, DeviceRegistry& devices, Spawn spawn);
  ~QueueDepths();

  // From now on that device is looked at; times begin anew. 0: it is not. ENODEV when there is
  // none.
  Status Set(const std::string& name, uint64_t period_us);
  // Null while the device is not looked at.
  const Sampled* Of(const std::string& name) const;
  // Looks at nothing any more.
  void Stop();

 private:
  class Sampling;

  Task<void> Look(std::string name);
  void OnRegistered(BlockDevice&) override {}
  void OnUnregistered(const std::string& name) override;
  void OnResized(BlockDevice&) override {}

  Loop& control_;
  DeviceRegistry& devices_;
  const Spawn spawn_;
  std::map<std::string, std::unique_ptr<Sampling>> samplings_;
};

}  // namespace pollux
