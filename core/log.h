#pragma once
#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/status.h"

// One line per event, to standard error: time, level, component, text. Components are named by
// literals ("iscsi", "bdev"); each is a flag that can be switched on by itself for debugging.
//
//   LogWarning("iscsi", "target %s: LUN %u is pending: %s", iqn, lun, reason);
//
// Text that came from a peer goes through Printable() first.

namespace pollux {

enum class LogLevel { kError, kWarning, kNotice, kInfo, kDebug };

// "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", as SPDK writes them.
const char* LogLevelName(LogLevel level);
Result<LogLevel> ParseLogLevel(std::string_view name);

namespace log_internal {
inline std::atomic<LogLevel> level{LogLevel::kNotice};
inline std::atomic<bool> any_flag{false};
bool FlagIsSet(std::string_view component);
void Write(LogLevel level, std::string_view component, std::string_view text);
}  // namespace log_internal

inline bool LogEnabled(LogLevel level, std::string_view component) {
  if (level <= log_internal::level.load(std::memory_order_relaxed)) return true;
  return log_internal::any_flag.load(std::memory_order_relaxed) &&
         log_internal::FlagIsSet(component);
}

void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();
void EnableLogTimestamps(bool enabled);

// A component that can be flagged. Known from the start: see kLogComponents in log.cc.
struct LogFlag {
  std::string component;
  bool set;
};
std::vector<LogFlag> GetLogFlags();
// "all" stands for every component.
Status SetLogFlag(std::string_view component, bool set);

// `text` with control characters and non-ASCII bytes as \xNN, and cut at 256 characters.
std::string Printable(std::string_view text);

template <typename... Args>
void Log(LogLevel level, std::string_view component, const absl::FormatSpec<Args...>& format,
         const Args&... args) {
  if (!LogEnabled(level, component)) return;
  log_internal::Write(level, component, absl::StrFormat(format, args...));
}

#define POLLUX_LOG_AT(name, level)                                               \
  template <typename... Args>                                                    \
  void name(std::string_view component, const absl::FormatSpec<Args...>& format, \
            const Args&... args) {                                               \
    Log(level, component, format, args...);                                      \
  }
POLLUX_LOG_AT(LogError, LogLevel::kError)
POLLUX_LOG_AT(LogWarning, LogLevel::kWarning)
POLLUX_LOG_AT(LogNotice, LogLevel::kNotice)
POLLUX_LOG_AT(LogInfo, LogLevel::kInfo)
POLLUX_LOG_AT(LogDebug, LogLevel::kDebug)
#undef POLLUX_LOG_AT

}  // namespace pollux
