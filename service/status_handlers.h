#pragma once
#include "core/task.h"
#include "pollux/v1/pollux.pb.h"
#include "pollux/v1/scsi.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/pollux.proto and scsi.proto: what the appliance says of itself.
class StatusHandlers {
 public:
  explicit StatusHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::PolluxGetStatusResponse>> GetStatus(v1::PolluxGetStatusRequest request);
  Task<Result<v1::PolluxGetMethodStatsResponse>> GetMethodStats(
      v1::PolluxGetMethodStatsRequest request);
  Task<Result<v1::ScsiGetDevicesResponse>> GetScsiDevices(v1::ScsiGetDevicesRequest request);

  Appliance& appliance_;
};

}  // namespace pollux::service
