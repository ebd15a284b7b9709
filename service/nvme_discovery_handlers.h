#pragma once
#include <map>
#include <memory>
#include <string>

#include "core/task.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "pollux/v1/bdev_nvme.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev_nvme.proto: discovery. What is saved is the discovery, with the numbers of
// the subsystems, so that a disk has the same name after a restart; the controllers that it
// attached come back by it.
class NvmeDiscoveryHandlers final : public NvmeControllers::Observer {
 public:
  explicit NvmeDiscoveryHandlers(Appliance& appliance);
  ~NvmeDiscoveryHandlers();  // After End(), and the end of the appliance's tasks.
  void Bind(rpc::Dispatcher& dispatcher);
  // Nothing is followed any more: the appliance stops, and detaches what is left.
  void End();

 private:
  class Followed;

  Task<Result<v1::BdevNvmeStartDiscoveryResponse>> Start(v1::BdevNvmeStartDiscoveryRequest request,
                                                         rpc::Caller caller);
  Task<Result<v1::BdevNvmeStopDiscoveryResponse>> Stop(v1::BdevNvmeStopDiscoveryRequest request,
                                                       rpc::Caller caller);
  Task<Result<v1::BdevNvmeGetDiscoveryInfoResponse>> GetInfo(
      v1::BdevNvmeGetDiscoveryInfoRequest request);

  Task<void> Forget(std::string name);
  Task<void> EndOne(Followed* followed);
  void OnPathGone(const NvmeAttachment& attachment, const Status& why) override;

  Appliance& appliance_;
  std::map<std::string, std::unique_ptr<Followed>> followed_;
};

}  // namespace pollux::service
