#pragma once
#include <string>

#include "core/task.h"
#include "pollux/v1/reference.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

// proto/pollux/v1/reference.proto.
class ReferenceHandlers {
 public:
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::ReferenceDiscoverResponse>> Discover(v1::ReferenceDiscoverRequest request);

  std::string document_;  // Made for the first who asks.
};

}  // namespace pollux::service
