#pragma once
#include <atomic>
#include <ostream>
#include <string>
#include <vector>

namespace pollux::cli {

// The main() of a program that a signal ends early, with its result; a second one ends it at once.
// Returns its exit code.
using InterruptibleProgram = int (*)(const std::vector<std::string>& words, std::ostream& out,
                                     std::ostream& err, bool err_is_terminal,
                                     const std::atomic<bool>& interrupt);
int RunInterruptible(int argc, char** argv, InterruptibleProgram program);

}  // namespace pollux::cli
