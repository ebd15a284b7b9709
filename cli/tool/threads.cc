#include "cli/tool/threads.h"

#include <pthread.h>
#include <time.h>

#include <string>

#include "core/clock.h"

namespace pollux::cli {

void SleepFor(uint64_t ns) {
  const timespec time{.tv_sec = static_cast<time_t>(ns / kNsPerSecond),
                      .tv_nsec = static_cast<long>(ns % kNsPerSecond)};
  nanosleep(&time, nullptr);
}

Status PinTo(std::thread& thread, unsigned core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  const int error = pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
  if (error != 0) return ErrorOfField(error, "-c", std::to_string(core), "cannot run there");
  return OkStatus();
}

}  // namespace pollux::cli
