#include "cli/perf/run.h"
#include "cli/tool/interruptible.h"

// Reads and writes NVMe namespaces and tells how fast that was: `pollux-perf --help`.
int main(int argc, char** argv) {
  return pollux::cli::RunInterruptible(argc, argv, &pollux::cli::RunPerf);
}
