#pragma once
#include "core/task.h"
#include "pollux/v1/framework.pb.h"
#include "rpc/dispatcher.h"
#include "service/core_times.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/framework.proto.
class FrameworkHandlers {
 public:
  explicit FrameworkHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::RpcGetMethodsResponse>> GetMethods(v1::RpcGetMethodsRequest request);
  Task<Result<v1::SpdkGetVersionResponse>> GetVersion(v1::SpdkGetVersionRequest request);
  Task<Result<v1::SpdkKillInstanceResponse>> KillInstance(v1::SpdkKillInstanceRequest request);
  Task<Result<v1::FrameworkStartInitResponse>> StartInit(v1::FrameworkStartInitRequest request);
  Task<Result<v1::FrameworkWaitInitResponse>> WaitInit(v1::FrameworkWaitInitRequest request);
  Task<Result<v1::FrameworkGetConfigResponse>> GetConfig(v1::FrameworkGetConfigRequest request);
  Task<Result<v1::FrameworkGetSubsystemsResponse>> GetSubsystems(
      v1::FrameworkGetSubsystemsRequest request);
  Task<Result<v1::FrameworkGetReactorsResponse>> GetReactors(
      v1::FrameworkGetReactorsRequest request);
  Task<Result<v1::FrameworkGetPciDevicesResponse>> GetPciDevices(
      v1::FrameworkGetPciDevicesRequest request);

  Appliance& appliance_;
  const CoreTimesSince core_times_;  // Since the appliance was started.
};

}  // namespace pollux::service
