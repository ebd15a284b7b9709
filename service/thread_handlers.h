#pragma once
#include "core/task.h"
#include "pollux/v1/thread.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/thread.proto.
class ThreadHandlers {
 public:
  explicit ThreadHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::ThreadGetStatsResponse>> GetStats(v1::ThreadGetStatsRequest request);
  Task<Result<v1::ThreadGetPollersResponse>> GetPollers(v1::ThreadGetPollersRequest request);
  Task<Result<v1::ThreadGetIoChannelsResponse>> GetIoChannels(
      v1::ThreadGetIoChannelsRequest request);

  Appliance& appliance_;
};

}  // namespace pollux::service
