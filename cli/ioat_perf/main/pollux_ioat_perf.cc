#include "cli/ioat_perf/run.h"
#include "cli/tool/interruptible.h"

// Has I/OAT channels move memory and tells how fast that was: `pollux-ioat-perf --help`.
int main(int argc, char** argv) {
  return pollux::cli::RunInterruptible(argc, argv, &pollux::cli::RunIoatPerf);
}
