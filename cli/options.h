#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"

namespace pollux::cli {

using Words = std::vector<std::string>;

// What may stand anywhere on the command line, apart from the method and its arguments.
struct Options {
  std::string socket;                    // -s: the path of a Unix socket, or ADDR:PORT.
  uint64_t timeout_ns = 60'000'000'000;  // -t, for each call.
  uint64_t every_ns = 0;                 // --every: the call is made again after that; 0: once.
  bool json = false;                     // --json
  bool help = false;                     // --help, -h
};

// When an option begins at words[at], takes it, leaves `at` at its last word and returns true.
Result<bool> TakeOption(const Words& words, size_t& at, Options& options);

}  // namespace pollux::cli
