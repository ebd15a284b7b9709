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
  Notifications& all = appliance_.notifications();
  constexpr uint32_t kWaitMsMax = 60'000;
  if (request.wait_ms() > kWaitMsMax) {
    co_return InvalidField("wait_ms", request.wait_ms(), "at most %u", kWaitMsMax);
  }
  const uint64_t deadline = appliance_.clock().NowNs() + request.wait_ms() * kNsPerMs;
  while (request.max() > 0 && request.id() >= all.next_id() && !all.ended()) {
    const bool changed = co_await all.changed().Until(deadline);
    if (!changed) break;
  }
  v1::NotifyGetNotificationsResponse response;
  for (const Notifications::Event& event : all.From(request.id(), request.max())) {
    v1::Notification* notification = response.add_notifications();
    notification->set_type(event.type);
    const bool device = event.kind == "bdev" && event.type.starts_with("bdev_");
    notification->set_ctx(device ? event.name : event.kind + " " + event.name);
    notification->set_id(event.id);
  }
  co_return response;
}

}  // namespace pollux::service
