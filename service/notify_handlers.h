#pragma once
#include "core/task.h"
#include "pollux/v1/notify.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/notify.proto.
class NotifyHandlers {
 public:
  explicit NotifyHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::NotifyGetTypesResponse>> GetTypes(v1::NotifyGetTypesRequest request);
  Task<Result<v1::NotifyGetNotificationsResponse>> GetNotifications(
      v1::NotifyGetNotificationsRequest request);

  Appliance& appliance_;
};

}  // namespace pollux::service
