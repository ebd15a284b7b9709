#pragma once
#include <istream>
#include <ostream>

#include "cli/options.h"

namespace pollux::cli {

// What the process ends with.
enum ExitCode : int {
  kDone = 0,
  kRefused = 1,      // The server's answer is an error.
  kMisused = 2,      // The command line does not make sense.
  kNoConnection = 3  // No connection, or no answer.
};

// Where the output goes.
struct Terminal {
  size_t width = 120;   // Columns.
  bool clears = false;  // It is a terminal, which knows how to begin at its top again.
};

// Does what the command line says.
ExitCode Run(const Words& words, std::istream& in, std::ostream& out, std::ostream& err,
             Terminal terminal);

}  // namespace pollux::cli
