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

// Does what the command line says. `width` is that of the terminal.
ExitCode Run(const Words& words, std::istream& in, std::ostream& out, std::ostream& err,
             size_t width);

}  // namespace pollux::cli
