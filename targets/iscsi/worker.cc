#include "targets/iscsi/worker.h"

#include "core/check.h"
#include "targets/iscsi/names.h"

namespace pollux::iscsi {
namespace {

// Tells the control loop that a session is gone, and is gone itself then.
class GoneNotice final : public Message {
 public:
  GoneNotice(ControlSide& side, uint16_t tsih) : side_(side), tsih_(tsih) {}

 private:
  void Run() override {
    side_.OnSessionGone(tsih_);
    delete this;
  }
  ControlSide& side_;
  const uint16_t tsih_;
};

}  // namespace

Worker::Worker(Environment environment, size_t unsolicited_bytes, size_t unsolicited_count)
    : environment_(environment),
      // Most of it is never touched, and so never resident.
      unsolicited_memory_(
          std::make_unique_for_overwrite<std::byte[]>(unsolicited_bytes * unsolicited_count)),
      unsolicited_(unsolicited_memory_.get(), unsolicited_bytes, unsolicited_count) {}

Worker::~Worker() { CHECK(sessions_.empty(), "a worker ended before its sessions"); }

Session* Worker::Adopt(std::unique_ptr<Session> session) {
  const uint16_t tsih = session->identity().tsih;
  const auto [place, is_new] = sessions_.emplace(tsih, std::move(session));
  CHECK(is_new);
  place->second->Open();
  return place->second.get();
}

Session* Worker::Find(uint16_t tsih) {
  const auto found = sessions_.find(tsih);
  return found == sessions_.end() ? nullptr : found->second.get();
}

void Worker::Drain(uint64_t within_ns) {
  for (const auto& [tsih, session] : sessions_) session->Drain(within_ns);
}

void Worker::SetLatencies(const std::string& target_name, Histogram* latencies) {
  for (const auto& [tsih, session] : sessions_) {
    if (SameName(session->identity().target_name, target_name)) session->SetLatencies(latencies);
  }
}

void Worker::CloseAll(const char* reason) {
  for (const auto& [tsih, session] : sessions_) session->Close(reason);
}

void Worker::AppendConnections(std::vector<ConnectionInfo>& infos) {
  for (const auto& [tsih, session] : sessions_) {
    for (const auto& connection : session->connections()) infos.push_back(connection->info());
  }
}

void Worker::OnSessionEnded(Session& session) {
  ended_.push_back(session.identity().tsih);
  if (!burial_.deferred()) loop().Defer(burial_);
}

void Worker::RunBurial() {
  for (const uint16_t tsih : std::exchange(ended_, {})) {
    sessions_.erase(tsih);
    control().Post(*new GoneNotice(control_side(), tsih));
  }
}

}  // namespace pollux::iscsi
