#pragma once
#include "core/task.h"
#include "pollux/v1/log.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

// proto/pollux/v1/log.proto. There is one log, on standard error: the level and the print level are
// one.
class LogHandlers {
 public:
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::LogSetFlagResponse>> SetFlag(v1::LogSetFlagRequest request);
  Task<Result<v1::LogClearFlagResponse>> ClearFlag(v1::LogClearFlagRequest request);
  Task<Result<v1::LogGetFlagsResponse>> GetFlags(v1::LogGetFlagsRequest request);
  Task<Result<v1::LogSetLevelResponse>> SetLevel(v1::LogSetLevelRequest request);
  Task<Result<v1::LogGetLevelResponse>> GetLevel(v1::LogGetLevelRequest request);
  Task<Result<v1::LogSetPrintLevelResponse>> SetPrintLevel(v1::LogSetPrintLevelRequest request);
  Task<Result<v1::LogGetPrintLevelResponse>> GetPrintLevel(v1::LogGetPrintLevelRequest request);
  Task<Result<v1::LogEnableTimestampsResponse>> EnableTimestamps(
      v1::LogEnableTimestampsRequest request);
};

}  // namespace pollux::service
