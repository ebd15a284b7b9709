#pragma once
#include <memory>

#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;
class BdevStatistics;

// All handlers, a class per service of the .proto files. The list in BindAll is the one place where
// a method meets its handler.
class Handlers {
 public:
  explicit Handlers(Appliance& appliance);
  ~Handlers();
  void BindAll(rpc::Dispatcher& dispatcher);
  // It observes the devices, once there are some.
  BdevStatistics& bdev_statistics();

 private:
  struct All;
  std::unique_ptr<All> all_;
};

}  // namespace pollux::service
