#pragma once
#include <memory>
#include <string>

#include "pollux/v1/events.pb.h"
#include "rpc/grpc/stream.h"
#include "service/configuration.h"
#include "service/notifications.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/events.proto: Events.Watch.
class EventStream final : public rpc::GrpcStreamMethod {
 public:
  // Of one answer; the others follow in the next.
  static constexpr uint64_t kEventsPerAnswer = 256;

  explicit EventStream(Appliance& appliance);

  std::string service() const override;
  std::string method() const override;
  Task<void> Serve(std::shared_ptr<rpc::GrpcStream> stream) override;
  void LookAgain() override;
  void End() override;

 private:
  class Watcher;
  Event& changed();

  Appliance& appliance_;
  const std::string instance_;
};

}  // namespace pollux::service
