#include "service/watchdog.h"

#include <fstream>

#include "absl/strings/str_format.h"
#include "core/log.h"

namespace pollux::service {
namespace {

double Seconds(uint64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerSecond); }

// What the kernel says the thread does: "runs", "waits for a disk in the kernel (io_schedule)".
std::string WhatThreadDoes(int thread_id) {
  const std::string folder = absl::StrFormat("/proc/self/task/%d/", thread_id);
  std::string stat;
  std::getline(std::ifstream(folder + "stat"), stat);
  // The name before the state is in parentheses, and may have some itself: proc_pid_stat(5).
  const size_t name_end = stat.rfind(')');
  const char state = name_end + 2 < stat.size() ? stat[name_end + 2] : '?';
  std::string where;
  std::getline(std::ifstream(folder + "wchan"), where);
  const std::string in_kernel =
      where.empty() || where == "0" ? "" : absl::StrFormat(" in the kernel (%s)", where);
  switch (state) {
    case 'R':
      return "its thread runs, or waits for its core";
    case 'D':
      return "its thread waits for a device" + in_kernel;
    case 'S':
      return "its thread sleeps" + in_kernel;
    case 'T':
    case 't':
      return "its thread was stopped by a debugger or a signal";
    default:
      return absl::StrFormat("its thread is in the state %c%s", state, in_kernel);
  }
}

}  // namespace

void Watchdog::Start() {
  looked_ns_ = control_.NowNs();
  for (Watched& watched : watched_) {
    watched.progress_ns = watched.loop->progress_ns();
    watched.since_ns = looked_ns_;
  }
  control_.ArmTimerIn(timer_, kLookEveryNs);
}

uint64_t Watchdog::StuckNs(const Loop& loop) const {
  for (const Watched& watched : watched_) {
    if (watched.loop == &loop && watched.stuck) return control_.NowNs() - watched.since_ns;
  }
  return 0;
}

void Watchdog::Look() {
  const uint64_t now_ns = control_.NowNs();
  // When we did not turn ourselves, we cannot tell who else did not.
  const bool late = now_ns - looked_ns_ > 3 * kLookEveryNs;
  looked_ns_ = now_ns;
  for (Watched& watched : watched_) {
    if (late && !watched.stuck) watched.since_ns = now_ns;
    LookAt(watched, now_ns);
  }
  control_.ArmTimerIn(timer_, kLookEveryNs);
}

void Watchdog::LookAt(Watched& watched, uint64_t now_ns) {
  const Loop& loop = *watched.loop;
  const uint64_t progress_ns = loop.progress_ns();
  if (progress_ns != watched.progress_ns || loop.sleeping()) {
    if (watched.stuck) {
      const std::string how_long =
          absl::StrFormat("it did not turn for %.1f s", Seconds(now_ns - watched.since_ns));
      LogWarning("core", "%s (core %d) turns again: %s", loop.name(), loop.core(), how_long);
      observer_.OnTurnsAgain(loop, how_long);
    }
    watched = {.loop = &loop, .progress_ns = progress_ns, .since_ns = now_ns, .stuck = false};
    return;
  }
  if (watched.stuck || now_ns - watched.since_ns < kStuckNs) return;
  watched.stuck = true;
  const std::string why =
      absl::StrFormat("it has not turned for %.1f s: %s", Seconds(now_ns - watched.since_ns),
                      WhatThreadDoes(loop.thread_id()));
  LogWarning("core", "%s (core %d) is stuck: %s", loop.name(), loop.core(), why);
  observer_.OnStuck(loop, why);
}

}  // namespace pollux::service
