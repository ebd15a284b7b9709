#pragma once
#include "core/task.h"
#include "pollux/v1/access.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/access.proto.
class AccessHandlers {
 public:
  explicit AccessHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::AccessGrantResponse>> Grant(v1::AccessGrantRequest request);
  Task<Result<v1::AccessRevokeResponse>> Revoke(v1::AccessRevokeRequest request);
  Task<Result<v1::AccessSetRoleResponse>> SetRole(v1::AccessSetRoleRequest request);
  Task<Result<v1::AccessGetResponse>> Get(v1::AccessGetRequest request);
  Task<Result<v1::AccessWhoamiResponse>> Whoami(v1::AccessWhoamiRequest request,
                                                rpc::Caller caller);

  Appliance& appliance_;
};

}  // namespace pollux::service
