#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/status.h"

namespace pollux::cli {

// The command line of a program that is not driven by descriptors: declared once, from which come
// parsing and help. -x VALUE, -xVALUE, --long VALUE, --long=VALUE; a flag without a value stands
// alone. "--" ends the flags.
class Flags {
 public:
  using Take = std::function<Status(const std::string& value)>;

  // `usage`: what follows the program's name. `text`: what it does, in lines.
  Flags(std::string program, std::string usage, std::string text);

  // `value`: how the help calls it, "" for a flag that stands alone. `names`: "-q", "--json" or
  // "-h, --help".
  void Add(const std::string& names, const std::string& value, const std::string& help, Take take);
  void AddSwitch(const std::string& names, const std::string& help, bool& into);
  // A blank line and a heading in the help.
  void AddHeading(const std::string& heading);

  // Words that are no flags go to `positional`. The message of an error says what does not fit.
  Status Parse(const std::vector<std::string>& words, std::vector<std::string>& positional) const;
  const std::string& program() const { return program_; }
  std::string Usage() const;
  std::string Help() const;

 private:
  struct Flag {
    std::vector<std::string> names;
    std::string shown, value, help;
    Take take;  // Null: a heading.
  };
  const Flag* Find(const std::string& name) const;

  std::string program_, usage_, text_;
  std::vector<Flag> flags_;
};

// What flags are made of. `name` is for the message: "-o".

// Decimal, or hexadecimal after 0x.
Result<uint64_t> ParseNumber(const std::string& name, const std::string& text, uint64_t min,
                             uint64_t max);
// The same, with k, m, g or t behind it for powers of 1024.
Result<uint64_t> ParseSize(const std::string& name, const std::string& text, uint64_t min,
                           uint64_t max);
// Seconds with a fraction, to nanoseconds.
Result<uint64_t> ParseSeconds(const std::string& name, const std::string& text, double max);
// "0-3,8" in ascending order, each once; at most `count_max` of them.
Result<std::vector<unsigned>> ParseSet(const std::string& name, const std::string& text,
                                       unsigned max, size_t count_max);

// Flags whose value is kept in `into`, which outlives them.
template <typename T>
Flags::Take TakeNumber(const char* name, uint64_t min, uint64_t max, T& into) {
  return [=, &into](const std::string& value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t number, ParseNumber(name, value, min, max));
    into = static_cast<T>(number);
    return OkStatus();
  };
}
template <typename T>
Flags::Take TakeSize(const char* name, uint64_t min, uint64_t max, T& into) {
  return [=, &into](const std::string& value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseSize(name, value, min, max));
    into = static_cast<T>(bytes);
    return OkStatus();
  };
}
Flags::Take TakeSeconds(const char* name, uint64_t& into_ns);

}  // namespace pollux::cli
