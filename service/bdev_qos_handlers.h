#pragma once
#include <string>

#include "core/block/device_registry.h"
#include "core/task.h"
#include "pollux/v1/bdev.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// bdev_set_qos_limit. The limits belong to the device's name: a device that comes back under it
// gets them again.
class BdevQosHandlers final : public DeviceRegistry::Observer {
 public:
  static constexpr char kKind[] = "bdev_qos";  // In the configuration, by the device's name.

  explicit BdevQosHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::BdevSetQosLimitResponse>> SetQosLimit(v1::BdevSetQosLimitRequest request);
  Task<void> Restore(std::string name);

  void OnRegistered(BlockDevice& device) override;
  void OnUnregistered(const std::string&) override {}
  void OnResized(BlockDevice&) override {}

  Appliance& appliance_;
};

}  // namespace pollux::service
