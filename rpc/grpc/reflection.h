#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/task.h"
#include "rpc/grpc/stream.h"

namespace pollux::rpc {

// grpc.reflection.v1alpha.ServerReflection, over the descriptors that are compiled in. (gRPC's own
// lists no service that is served by name, as ours are.) Control loop only.
class GrpcReflection {
 public:
  // `services` are the full names of what ListServices shows.
  explicit GrpcReflection(std::vector<std::string> services) : services_(std::move(services)) {}

  // Answers question by question until the caller has no more.
  Task<void> Info(std::shared_ptr<GrpcStream> stream);

 private:
  std::string Answer(const std::string& question) const;

  const std::vector<std::string> services_;
};

}  // namespace pollux::rpc
