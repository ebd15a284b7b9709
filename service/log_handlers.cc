#include "service/log_handlers.h"

#include "core/log.h"
#include "service/answers.h"

namespace pollux::service {
namespace {

LogLevel LevelOf(v1::Severity severity) {
  switch (severity) {
    case v1::SEVERITY_ERROR:
      return LogLevel::kError;
    case v1::SEVERITY_WARNING:
      return LogLevel::kWarning;
    case v1::SEVERITY_INFO:
      return LogLevel::kInfo;
    case v1::SEVERITY_DEBUG:
      return LogLevel::kDebug;
    default:
      return LogLevel::kNotice;
  }
}

v1::Severity SeverityOf(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return v1::SEVERITY_ERROR;
    case LogLevel::kWarning:
      return v1::SEVERITY_WARNING;
    case LogLevel::kNotice:
      return v1::SEVERITY_NOTICE;
    case LogLevel::kInfo:
      return v1::SEVERITY_INFO;
    case LogLevel::kDebug:
      return v1::SEVERITY_DEBUG;
  }
  return v1::SEVERITY_UNSPECIFIED;
}

}  // namespace

void LogHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("log_set_flag", this, &LogHandlers::SetFlag);
  dispatcher.Bind("log_clear_flag", this, &LogHandlers::ClearFlag);
  dispatcher.Bind("log_get_flags", this, &LogHandlers::GetFlags);
  dispatcher.Bind("log_set_level", this, &LogHandlers::SetLevel);
  dispatcher.Bind("log_get_level", this, &LogHandlers::GetLevel);
  dispatcher.Bind("log_set_print_level", this, &LogHandlers::SetPrintLevel);
  dispatcher.Bind("log_get_print_level", this, &LogHandlers::GetPrintLevel);
  dispatcher.Bind("log_enable_timestamps", this, &LogHandlers::EnableTimestamps);
}

Task<Result<v1::LogSetFlagResponse>> LogHandlers::SetFlag(v1::LogSetFlagRequest request) {
  CO_RETURN_IF_ERROR(SetLogFlag(request.flag(), true));
  co_return Done<v1::LogSetFlagResponse>();
}

Task<Result<v1::LogClearFlagResponse>> LogHandlers::ClearFlag(v1::LogClearFlagRequest request) {
  CO_RETURN_IF_ERROR(SetLogFlag(request.flag(), false));
  co_return Done<v1::LogClearFlagResponse>();
}

Task<Result<v1::LogGetFlagsResponse>> LogHandlers::GetFlags(v1::LogGetFlagsRequest) {
  v1::LogGetFlagsResponse response;
  for (const LogFlag& flag : GetLogFlags()) (*response.mutable_flags())[flag.component] = flag.set;
  co_return response;
}

Task<Result<v1::LogSetLevelResponse>> LogHandlers::SetLevel(v1::LogSetLevelRequest request) {
  SetLogLevel(LevelOf(request.level()));
  co_return Done<v1::LogSetLevelResponse>();
}

Task<Result<v1::LogGetLevelResponse>> LogHandlers::GetLevel(v1::LogGetLevelRequest) {
  v1::LogGetLevelResponse response;
  response.set_level(SeverityOf(GetLogLevel()));
  co_return response;
}

Task<Result<v1::LogSetPrintLevelResponse>> LogHandlers::SetPrintLevel(
    v1::LogSetPrintLevelRequest request) {
  SetLogLevel(LevelOf(request.level()));
  co_return Done<v1::LogSetPrintLevelResponse>();
}

Task<Result<v1::LogGetPrintLevelResponse>> LogHandlers::GetPrintLevel(v1::LogGetPrintLevelRequest) {
  v1::LogGetPrintLevelResponse response;
  response.set_level(SeverityOf(GetLogLevel()));
  co_return response;
}

Task<Result<v1::LogEnableTimestampsResponse>> LogHandlers::EnableTimestamps(
    v1::LogEnableTimestampsRequest request) {
  EnableLogTimestamps(request.enabled());
  co_return Done<v1::LogEnableTimestampsResponse>();
}

}  // namespace pollux::service
