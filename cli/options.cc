#include "cli/options.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>

namespace pollux::cli {
namespace {

constexpr double kSecondsMax = 1e6;

Result<uint64_t> ParseSeconds(const std::string& option, const std::string& word) {
  char* end = nullptr;
  const double seconds = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != '\0' || !std::isfinite(seconds) || seconds <= 0 ||
      seconds > kSecondsMax) {
    return InvalidField(option, word, "must be a number of seconds, up to %.0f", kSecondsMax);
  }
  return static_cast<uint64_t>(seconds * 1e9);
}

}  // namespace

Result<bool> TakeOption(const Words& words, size_t& at, Options& options) {
  const std::string& word = words[at];
  if (word == "--help" || word == "-h") return options.help = true;
  if (word == "--json") return options.json = true;
  if (word != "-s" && word != "-t" && word != "--every") return false;
  if (at + 1 == words.size()) return InvalidArgument("%s needs a value", word);
  const std::string& value = words[++at];
  if (word == "-s") {
    options.socket = value;
  } else {
    ASSIGN_OR_RETURN(const uint64_t ns, ParseSeconds(word, value));
    (word == "-t" ? options.timeout_ns : options.every_ns) = ns;
  }
  return true;
}

}  // namespace pollux::cli
