#include "service/notifications.h"

#include <algorithm>

namespace pollux::service {

std::vector<std::string> Notifications::Types() {
  return {"bdev_register", "bdev_unregister", "bdev_resize", "bdev_timeout"};
}

std::vector<Notifications::Event> Notifications::From(uint64_t id, uint64_t count) const {
  const uint64_t oldest = next_id_ - events_.size();
  const uint64_t first = std::max(id, oldest);
  std::vector<Event> result;
  for (uint64_t i = first; i < next_id_ && result.size() < count; ++i) {
    result.push_back(events_[static_cast<size_t>(i - oldest)]);
  }
  return result;
}

void Notifications::Add(const std::string& type, const std::string& context) {
  events_.push_back({type, context, next_id_++});
  if (events_.size() > kCapacity) events_.pop_front();
}

}  // namespace pollux::service
