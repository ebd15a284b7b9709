#include "cli/accel_perf/run.h"
#include "cli/tool/interruptible.h"

// Has the accel layer move memory and tells how fast that was: `pollux-accel-perf --help`.
int main(int argc, char** argv) {
  return pollux::cli::RunInterruptible(argc, argv, &pollux::cli::RunAccelPerf);
}
