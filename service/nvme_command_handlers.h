#pragma once
#include <string>
#include <vector>

#include "core/task.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "pollux/v1/bdev_nvme.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev_nvme.proto: what is asked of a controller that is attached. Nothing of it is
// saved.
class NvmeCommandHandlers {
 public:
  explicit NvmeCommandHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::BdevNvmeResetControllerResponse>> Reset(
      v1::BdevNvmeResetControllerRequest request);
  Task<Result<v1::BdevNvmeEnableControllerResponse>> Enable(
      v1::BdevNvmeEnableControllerRequest request);
  Task<Result<v1::BdevNvmeDisableControllerResponse>> Disable(
      v1::BdevNvmeDisableControllerRequest request);
  Task<Result<v1::BdevNvmeGetControllerHealthInfoResponse>> GetHealth(
      v1::BdevNvmeGetControllerHealthInfoRequest request);
  Task<Result<v1::BdevNvmeApplyFirmwareResponse>> ApplyFirmware(
      v1::BdevNvmeApplyFirmwareRequest request);
  Task<Result<v1::BdevNvmeSendCmdResponse>> SendCmd(v1::BdevNvmeSendCmdRequest request);
  Task<Result<v1::BdevNvmeAddErrorInjectionResponse>> AddInjection(
      v1::BdevNvmeAddErrorInjectionRequest request);
  Task<Result<v1::BdevNvmeRemoveErrorInjectionResponse>> RemoveInjection(
      v1::BdevNvmeRemoveErrorInjectionRequest request);
  Task<Result<v1::BdevNvmeGetTransportStatisticsResponse>> GetStatistics(
      v1::BdevNvmeGetTransportStatisticsRequest request);

  // Those of the name that are attached; when `cntlid` is said, the one with that number. ENODEV
  // when there is none.
  template <typename Request>
  Result<std::vector<NvmePath*>> PathsOf(const Request& request) const;
  Result<NvmePath*> FirstPath(const std::string& name) const;

  Appliance& appliance_;
};

}  // namespace pollux::service
