#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <iostream>

#include "cli/perf/run.h"

// Reads and writes NVMe namespaces and tells how fast that was: `pollux-perf --help`.

namespace {

std::atomic<bool> interrupt{false};

void OnSignal(int /*signal*/) { interrupt.store(true, std::memory_order_relaxed); }

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  struct sigaction action {};
  action.sa_handler = &OnSignal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // A second one ends the process at once.
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  const int code = pollux::cli::RunPerf({argv + 1, argv + argc}, std::cout, std::cerr,
                                        isatty(STDERR_FILENO) == 1, interrupt);
  std::cout.flush();
  return code == 0 && !std::cout ? 1 : code;
}
