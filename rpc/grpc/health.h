#pragma once
#include <memory>
#include <set>
#include <string>

#include "core/event.h"
#include "core/task.h"
#include "rpc/grpc/stream.h"

namespace pollux::rpc {

// grpc.health.v1.Health: all services serve, or none does. Control loop only.
class GrpcHealth {
 public:
  // `services` are full names.
  explicit GrpcHealth(std::set<std::string> services);

  void SetServing(bool serving);
  // The state is the last; those who watch are told, and let go.
  void End();
  // Some stream is gone: those who watch look whether it is theirs.
  void LookAgain() { changed_.Pulse(); }

  Task<void> Check(std::shared_ptr<GrpcStream> stream);
  Task<void> Watch(std::shared_ptr<GrpcStream> stream);

 private:
  bool Knows(const std::string& service) const { return services_.contains(service); }

  std::set<std::string> services_;  // With "", the server.
  bool serving_ = false;
  bool ended_ = false;
  Event changed_;
};

}  // namespace pollux::rpc
