#include "service/event_stream.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "core/block/uuid.h"
#include "service/appliance.h"
#include "service/time_text.h"

namespace pollux::service {
namespace {

// The only service of the file.
const google::protobuf::ServiceDescriptor& ServiceOfEvents() {
  return *v1::Event::descriptor()->file()->service(0);
}

void Fill(const Notifications::Event& from, v1::Event& to) {
  to.set_id(from.id);
  to.set_type(from.type);
  to.set_kind(from.kind);
  to.set_name(from.name);
  to.set_reason(from.reason);
  to.set_time(TimeTextOfMs(from.time_ms));
}

void TakeSnapshot(Appliance& appliance, v1::Snapshot& snapshot) {
  std::map<ObjectId, std::string> pending;
  for (const PendingCalls& one : appliance.configuration().pending()) {
    pending[one.id] = std::string(one.why.message());
  }
  const auto add = [&snapshot](const std::string& kind, const std::string& name) {
    v1::WatchedObject* object = snapshot.add_objects();
    object->set_kind(kind);
    object->set_name(name);
    return object;
  };
  const std::string device = "bdev";
  if (appliance.initialised().is_set()) {
    for (const BlockDevice* one : appliance.devices().devices()) add(device, one->name());
  }
  for (const ObjectId& id : appliance.configuration().ids()) {
    const auto waits = pending.find(id);
    if (id.kind == device && waits == pending.end()) continue;
    v1::WatchedObject* object = add(id.kind, id.name);
    if (waits != pending.end()) object->set_pending(waits->second);
  }
}

}  // namespace

// One caller, and where it is.
class EventStream::Watcher {
 public:
  Watcher(EventStream& owner, const v1::EventsWatchRequest& request)
      : appliance_(owner.appliance_),
        all_(owner.appliance_.notifications()),
        instance_(owner.instance_),
        types_(request.types().begin(), request.types().end()) {
    const bool ours = request.instance().empty() || request.instance() == instance_;
    if (request.has_from() && ours && request.from() <= all_.next_id()) {
      next_ = request.from();
      needs_snapshot_ = false;
    } else if (request.has_from() && !ours) {
      next_ = all_.next_id();  // How many it missed of the other instance nobody knows.
    }
  }

  // The next answer; false when there is nothing to tell.
  bool Take(v1::EventsWatchResponse& answer) {
    answer.Clear();
    if (next_ < all_.oldest_id()) {
      answer.set_missed(all_.oldest_id() - next_);
      needs_snapshot_ = true;
    }
    if (needs_snapshot_) {
      TakeSnapshot(appliance_, *answer.mutable_snapshot());
      next_ = all_.next_id();
      needs_snapshot_ = false;
    }
    for (const Notifications::Event& event : all_.From(next_, kEventsPerAnswer)) {
      next_ = event.id + 1;
      if (types_.empty() || types_.contains(event.type)) Fill(event, *answer.add_events());
    }
    answer.set_next_id(next_);
    answer.set_instance(instance_);
    return answer.has_snapshot() || answer.events_size() > 0;
  }
  bool behind() const { return next_ < all_.next_id(); }

 private:
  Appliance& appliance_;
  Notifications& all_;
  const std::string instance_;
  const std::set<std::string> types_;
  uint64_t next_ = 0;
  bool needs_snapshot_ = true;
};

EventStream::EventStream(Appliance& appliance)
    : appliance_(appliance), instance_(Uuid::ParseOrRandom("", "")->ToString()) {}

std::string EventStream::service() const { return ServiceOfEvents().full_name(); }
std::string EventStream::method() const { return ServiceOfEvents().method(0)->name(); }

Event& EventStream::changed() { return appliance_.notifications().changed(); }
void EventStream::LookAgain() { changed().Pulse(); }
void EventStream::End() { appliance_.notifications().End(); }

Task<void> EventStream::Serve(std::shared_ptr<rpc::GrpcStream> stream) {
  const std::optional<std::string> bytes = co_await stream->Receive();
  v1::EventsWatchRequest request;
  if (!bytes.has_value() || !request.ParseFromString(*bytes)) {
    stream->Finish({.code = rpc::GrpcCode::kInvalidArgument,
                    .message = "a pollux.v1.EventsWatchRequest is wanted"});
    co_return;
  }
  const std::vector<std::string> known = Notifications::Types();
  for (const std::string& type : request.types()) {
    if (std::ranges::find(known, type) != known.end()) continue;
    stream->Finish({.code = rpc::GrpcCode::kInvalidArgument,
                    .message = "types: '" + Printable(type) + "' is none of notify_get_types"});
    co_return;
  }
  Watcher watcher(*this, request);
  v1::EventsWatchResponse answer;
  while (!stream->gone() && !appliance_.notifications().ended()) {
    if (watcher.Take(answer)) {
      const bool sent = co_await stream->Send(answer.SerializeAsString());
      if (!sent) break;
    } else if (!watcher.behind()) {
      co_await changed();
    }
  }
  stream->Finish({.code = rpc::GrpcCode::kUnavailable, .message = "the server is stopping"});
}

}  // namespace pollux::service
