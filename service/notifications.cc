#include "service/notifications.h"

#include <algorithm>
#include <chrono>

namespace pollux::service {
namespace {

constexpr char kDevice[] = "bdev";

int64_t MsSince1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace

std::vector<std::string> Notifications::Types() {
  return {"bdev_register",      "bdev_unregister", "bdev_resize",       "bdev_timeout",
          "config_created",     "config_changed",  "config_removed",    "config_pending",
          "config_restored",    "host_connected",  "host_disconnected", "reactor_stuck",
          "reactor_turns_again"};
}

std::vector<Notifications::Event> Notifications::From(uint64_t id, uint64_t count) const {
  std::vector<Event> result;
  for (uint64_t i = std::max(id, oldest_id()); i < next_id_ && result.size() < count; ++i) {
    result.push_back(events_[static_cast<size_t>(i - oldest_id())]);
  }
  return result;
}

// Of block devices bdev_register and bdev_unregister tell, as SPDK's scripts want it; but not of
// one that never came to be.
void Notifications::OnCreated(const ObjectId& id) {
  if (id.kind != kDevice) Add("config_created", id);
}

void Notifications::OnChanged(const ObjectId& id) {
  if (id.kind != kDevice) Add("config_changed", id);
}

void Notifications::OnRemoved(const ObjectId& id, bool was_pending) {
  if (id.kind != kDevice || was_pending) Add("config_removed", id);
}

void Notifications::OnPending(const ObjectId& id, const Status& why) {
  Add("config_pending", id, std::string(why.message()));
}

void Notifications::Add(const std::string& type, const ObjectId& id, std::string reason) {
  events_.push_back({.type = type,
                     .kind = id.kind,
                     .name = id.name,
                     .reason = std::move(reason),
                     .time_ms = MsSince1970(),
                     .id = next_id_++});
  if (events_.size() > kCapacity) events_.pop_front();
  // Those who wait hear of all that one turn does at once, and not in the midst of it.
  control_.AfterEndOfTurn(tell_);
}

void Notifications::End() {
  ended_ = true;
  changed_.Pulse();
}

}  // namespace pollux::service
