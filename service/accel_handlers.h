#pragma once
#include "core/task.h"
#include "pollux/v1/accel.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/accel.proto. Before initialisation there is no accel layer: what may be called
// then is looked at and goes into the configuration, which initialisation rebuilds.
class AccelHandlers {
 public:
  explicit AccelHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::AccelGetModuleInfoResponse>> GetModuleInfo(v1::AccelGetModuleInfoRequest request);
  Task<Result<v1::AccelGetOpcAssignmentsResponse>> GetAssignments(
      v1::AccelGetOpcAssignmentsRequest request);
  Task<Result<v1::AccelAssignOpcResponse>> Assign(v1::AccelAssignOpcRequest request,
                                                  rpc::Caller caller);
  Task<Result<v1::AccelSetOptionsResponse>> SetOptions(v1::AccelSetOptionsRequest request);
  Task<Result<v1::AccelSetDriverResponse>> SetDriver(v1::AccelSetDriverRequest request);
  Task<Result<v1::AccelGetStatsResponse>> GetStats(v1::AccelGetStatsRequest request);
  Task<Result<v1::AccelErrorInjectErrorResponse>> InjectError(
      v1::AccelErrorInjectErrorRequest request);

  Appliance& appliance_;
};

}  // namespace pollux::service
