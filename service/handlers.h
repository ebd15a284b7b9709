#pragma once
#include <memory>

#include "core/block/device_registry.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;
class Configuration;
class IoatHandlers;
class NvmeHandlers;
class NvmfHandlers;

// All handlers, a class per service of the .proto files. The list in BindAll is the one place where
// a method meets its handler.
class Handlers {
 public:
  explicit Handlers(Appliance& appliance);
  ~Handlers();
  void BindAll(rpc::Dispatcher& dispatcher);
  // Says which names of objects mean the same, and which objects go with others.
  void DescribeKinds(Configuration& configuration);
  // Observes the devices, from when there are some.
  void Observe(DeviceRegistry& devices);
  void StopObserving(DeviceRegistry& devices);
  // Ends the calls that wait for something: the appliance stops.
  void EndWaits();
  NvmeControllers::Observer& nvme_observer();
  IoatHandlers& ioat();
  NvmfHandlers& nvmf();
  NvmeHandlers& nvme();

 private:
  struct All;
  std::unique_ptr<All> all_;
};

}  // namespace pollux::service
