#include "cli/tool/interruptible.h"

#include <signal.h>
#include <unistd.h>

#include <iostream>

namespace pollux::cli {
namespace {

std::atomic<bool> interrupt{false};

void OnSignal(int /*signal*/) { interrupt.store(true, std::memory_order_relaxed); }

}  // namespace

int RunInterruptible(int argc, char** argv, InterruptibleProgram program) {
  std::ios::sync_with_stdio(false);
  struct sigaction action {};
  action.sa_handler = &OnSignal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  const int code =
      program({argv + 1, argv + argc}, std::cout, std::cerr, isatty(STDERR_FILENO) == 1, interrupt);
  std::cout.flush();
  return code == 0 && !std::cout ? 1 : code;
}

}  // namespace pollux::cli
