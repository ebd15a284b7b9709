#pragma once
#include <cstdint>

#include "core/log.h"
#include "core/loop.h"
#include "core/method_call.h"

namespace pollux {

// Lines of one cause that a peer can repeat as fast as it likes: the first few of a second are
// written, the others counted, and the count follows when the second is over. One loop's.
//
//   LogLimiter logins_{loop, "iscsi", "logins"};
//   logins_.Notice("login of %s is refused", name);
//   -> NOTICE iscsi: 1207 more lines about logins were left out
class LogLimiter {
 public:
  static constexpr uint32_t kLinesMax = 10;  // Written in a second.

  // The texts are literals.
  LogLimiter(Loop& loop, const char* component, const char* about)
      : loop_(loop), component_(component), about_(about) {}
  ~LogLimiter() { Settle(); }

  template <typename... Args>
  void Warning(const absl::FormatSpec<Args...>& format, const Args&... args) {
    if (Admit(LogLevel::kWarning)) LogWarning(component_, format, args...);
  }
  template <typename... Args>
  void Notice(const absl::FormatSpec<Args...>& format, const Args&... args) {
    if (Admit(LogLevel::kNotice)) LogNotice(component_, format, args...);
  }
  template <typename... Args>
  void Info(const absl::FormatSpec<Args...>& format, const Args&... args) {
    if (Admit(LogLevel::kInfo)) LogInfo(component_, format, args...);
  }

  // Tells the count at once. An object that dies elsewhere than on its loop was settled there.
  void Settle();

 private:
  bool Admit(LogLevel level);

  Loop& loop_;
  const char* const component_;
  const char* const about_;
  uint64_t second_ends_ns_ = 0;
  uint32_t written_ = 0;
  uint64_t left_out_ = 0;
  LogLevel gravest_ = LogLevel::kDebug;  // Of what was left out.
  TimerCall<LogLimiter, &LogLimiter::Settle> timer_{*this};
};

}  // namespace pollux
