#include <iostream>

#include "cli/identify/run.h"

// Tells what an NVMe controller says about itself: `pollux-identify --help`.
int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const int code = pollux::cli::RunIdentify({argv + 1, argv + argc}, std::cout, std::cerr);
  std::cout.flush();
  return code == 0 && !std::cout ? 1 : code;
}
