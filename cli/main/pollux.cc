#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>

#include "cli/run.h"

// The command line of a running polluxd: `pollux --help`.

namespace {

constexpr size_t kWidthWithoutTerminal = 120;

size_t TerminalWidth() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kWidthWithoutTerminal;
  }
  return size.ws_col;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const pollux::cli::Words words(argv + 1, argv + argc);
  const int code = pollux::cli::Run(words, std::cin, std::cout, std::cerr, TerminalWidth());
  std::cout.flush();
  return code == pollux::cli::kDone && !std::cout ? pollux::cli::kRefused : code;
}
