#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>

#include "cli/run.h"

// The command line of a running polluxd: `pollux --help`.

namespace {

pollux::cli::Terminal OutputTerminal() {
  pollux::cli::Terminal terminal;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) terminal.width = size.ws_col;
  terminal.clears = isatty(STDOUT_FILENO) == 1;
  return terminal;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const pollux::cli::Words words(argv + 1, argv + argc);
  const int code = pollux::cli::Run(words, std::cin, std::cout, std::cerr, OutputTerminal());
  std::cout.flush();
  return code == pollux::cli::kDone && !std::cout ? pollux::cli::kRefused : code;
}
