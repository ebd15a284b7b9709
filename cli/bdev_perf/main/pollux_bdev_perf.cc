#include "cli/bdev_perf/run.h"
#include "cli/tool/interruptible.h"

// Reads and writes disks through the block layer and tells how fast that was: `pollux-bdev-perf
// --help`.
int main(int argc, char** argv) {
  return pollux::cli::RunInterruptible(argc, argv, &pollux::cli::RunBdevPerf);
}
