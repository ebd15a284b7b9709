#include "core/log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

namespace pollux {
namespace {

// Every component that logs. A flag of another name is refused.
constexpr std::array kLogComponents = {
    "core",       "memory", "net",  "block", "bdev_malloc", "bdev_null",
    "bdev_uring", "nvme",   "ioat", "nvmf",  "scsi",        "iscsi",
    "vfio_user",  "pci",    "rpc",  "store", "service"};
std::array<std::atomic<bool>, kLogComponents.size()> flags;
std::atomic<bool> timestamps{true};

}  // namespace

namespace log_internal {

bool FlagIsSet(std::string_view component) {
  for (size_t i = 0; i < kLogComponents.size(); ++i) {
    if (kLogComponents[i] == component) return flags[i].load(std::memory_order_relaxed);
  }
  return false;
}

void Write(LogLevel line_level, std::string_view component, std::string_view text) {
  std::string line;
  if (timestamps.load(std::memory_order_relaxed)) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    tm utc;
    gmtime_r(&now.tv_sec, &utc);
    line =
        absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ ", utc.tm_year + 1900, utc.tm_mon + 1,
                        utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000);
  }
  absl::StrAppendFormat(&line, "%s %s: %s\n", LogLevelName(line_level), component, text);
  // One write, so that lines of several threads do not mix. Nothing can be done when it fails.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace log_internal

const char* LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "ERROR";
    case LogLevel::kWarning:
      return "WARNING";
    case LogLevel::kNotice:
      return "NOTICE";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kDebug:
      return "DEBUG";
  }
  return "?";
}

Result<LogLevel> ParseLogLevel(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (LogLevel level : {LogLevel::kError, LogLevel::kWarning, LogLevel::kNotice, LogLevel::kInfo,
                         LogLevel::kDebug}) {
    if (upper == LogLevelName(level)) return level;
  }
  return InvalidField("level", name, "must be ERROR, WARNING, NOTICE, INFO or DEBUG");
}

void SetLogLevel(LogLevel level) { log_internal::level.store(level, std::memory_order_relaxed); }
LogLevel GetLogLevel() { return log_internal::level.load(std::memory_order_relaxed); }
void EnableLogTimestamps(bool enabled) { timestamps.store(enabled, std::memory_order_relaxed); }

std::vector<LogFlag> GetLogFlags() {
  std::vector<LogFlag> result;
  for (size_t i = 0; i < kLogComponents.size(); ++i) {
    result.push_back({kLogComponents[i], flags[i].load(std::memory_order_relaxed)});
  }
  return result;
}

Status SetLogFlag(std::string_view component, bool set) {
  bool found = false;
  for (size_t i = 0; i < kLogComponents.size(); ++i) {
    if (component != "all" && kLogComponents[i] != component) continue;
    flags[i].store(set, std::memory_order_relaxed);
    found = true;
  }
  if (!found) return InvalidField("flag", component, "no such log flag");
  const bool any = std::any_of(flags.begin(), flags.end(), [](const auto& f) { return f.load(); });
  log_internal::any_flag.store(any, std::memory_order_relaxed);
  return OkStatus();
}

std::string Printable(std::string_view text) {
  constexpr size_t kShownMax = 256;
  std::string result;
  for (const char c : text.substr(0, kShownMax)) {
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      result.push_back(c);
    } else {
      absl::StrAppendFormat(&result, "\\x%02x", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kShownMax) result += "...";
  return result;
}

}  // namespace pollux
