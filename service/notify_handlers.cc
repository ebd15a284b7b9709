#include "service/notify_handlers.h"

#include "service/appliance.h"

namespace pollux::service {

void NotifyHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("notify_get_types", this, &NotifyHandlers::GetTypes);
  dispatcher.Bind("notify_get_notifications", this, &NotifyHandlers::GetNotifications);
}

Task<Result<v1::NotifyGetTypesResponse>> NotifyHandlers::GetTypes(v1::NotifyGetTypesRequest) {
  v1::NotifyGetTypesResponse response;
  for (const std::string& type : Notifications::Types()) response.add_types(type);
  co_return response;
}

Task<Result<v1::NotifyGetNotificationsResponse>> NotifyHandlers::GetNotifications(
    v1::NotifyGetNotificationsRequest request) {
  v1::NotifyGetNotificationsResponse response;
  for (const Notifications::Event& event :
       appliance_.notifications().From(request.id(), request.max())) {
    v1::Notification* notification = response.add_notifications();
    notification->set_type(event.type);
    notification->set_ctx(event.context);
    notification->set_id(event.id);
  }
  co_return response;
}

}  // namespace pollux::service
