#include "cli/tool/flags.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/clock.h"

namespace pollux::cli {
namespace {

constexpr double kSecondsMax = 1e7;  // Of a run.

constexpr size_t kHelpColumn = 26;

bool IsDigits(std::string_view text, bool hex) {
  const auto is_digit = [hex](char c) {
    return (c >= '0' && c <= '9') || (hex && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')));
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// Whole digits only, and no overflow.
bool ReadNumber(const std::string& text, uint64_t& into) {
  if (text.starts_with("0x") || text.starts_with("0X")) {
    return IsDigits(std::string_view(text).substr(2), true) && absl::SimpleHexAtoi(text, &into);
  }
  return IsDigits(text, false) && absl::SimpleAtoi(text, &into);
}

// The power of 1024 that a unit stands for; -1 for what is no unit.
int PowerOf(char unit) {
  switch (unit) {
    case 'k':
    case 'K':
      return 1;
    case 'm':
    case 'M':
      return 2;
    case 'g':
    case 'G':
      return 3;
    case 't':
    case 'T':
      return 4;
  }
  return -1;
}

}  // namespace

Flags::Flags(std::string program, std::string usage, std::string text)
    : program_(std::move(program)), usage_(std::move(usage)), text_(std::move(text)) {}

void Flags::Add(const std::string& names, const std::string& value, const std::string& help,
                Take take) {
  Flag flag{.names = absl::StrSplit(names, ", "),
            .shown = names,
            .value = value,
            .help = help,
            .take = std::move(take)};
  flags_.push_back(std::move(flag));
}

void Flags::AddSwitch(const std::string& names, const std::string& help, bool& into) {
  Add(names, "", help, [&into](const std::string&) {
    into = true;
    return OkStatus();
  });
}

void Flags::AddHeading(const std::string& heading) {
  flags_.push_back({.names = {}, .shown = heading, .value = "", .help = "", .take = nullptr});
}

const Flags::Flag* Flags::Find(const std::string& name) const {
  for (const Flag& flag : flags_) {
    if (std::find(flag.names.begin(), flag.names.end(), name) != flag.names.end()) return &flag;
  }
  return nullptr;
}

Status Flags::Parse(const std::vector<std::string>& words,
                    std::vector<std::string>& positional) const {
  bool flags_ended = false;
  for (size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (flags_ended || word.size() < 2 || word[0] != '-') {
      positional.push_back(word);
      continue;
    }
    if (word == "--") {
      flags_ended = true;
      continue;
    }
    const bool is_long = word[1] == '-';
    const size_t end = is_long ? std::min(word.find('='), word.size()) : 2;
    const std::string name = word.substr(0, end);
    const Flag* flag = Find(name);
    if (flag == nullptr) return InvalidArgument("there is no flag %s", name);
    const bool has_value = end < word.size();
    if (flag->value.empty()) {
      if (has_value) return InvalidArgument("%s takes no value", name);
      RETURN_IF_ERROR(flag->take(""));
    } else if (has_value) {
      RETURN_IF_ERROR(flag->take(word.substr(is_long ? end + 1 : end)));
    } else if (at + 1 < words.size()) {
      RETURN_IF_ERROR(flag->take(words[++at]));
    } else {
      return InvalidArgument("%s needs a value: %s", name, flag->value);
    }
  }
  return OkStatus();
}

std::string Flags::Usage() const { return absl::StrFormat("Usage: %s %s\n", program_, usage_); }

std::string Flags::Help() const {
  std::string out = Usage() + "\n" + text_;
  for (const Flag& flag : flags_) {
    if (flag.take == nullptr) {
      out += "\n" + flag.shown + "\n";
      continue;
    }
    std::string line = "  " + flag.shown + (flag.value.empty() ? "" : " " + flag.value);
    if (line.size() + 2 > kHelpColumn) {
      out += line + "\n";
      line.clear();
    }
    for (const absl::string_view help : absl::StrSplit(flag.help, '\n')) {
      line.resize(kHelpColumn, ' ');
      out += line.append(help.data(), help.size()) + "\n";
      line.clear();
    }
  }
  return out;
}

Result<uint64_t> ParseNumber(const std::string& name, const std::string& text, uint64_t min,
                             uint64_t max) {
  uint64_t number = 0;
  if (!ReadNumber(text, number) || number < min || number > max) {
    return InvalidField(name, text, "must be a number from %d to %d", min, max);
  }
  return number;
}

Result<uint64_t> ParseSize(const std::string& name, const std::string& text, uint64_t min,
                           uint64_t max) {
  std::string digits = text;
  int power = 0;
  if (!digits.empty() && PowerOf(digits.back()) > 0) {
    power = PowerOf(digits.back());
    digits.pop_back();
  }
  uint64_t number = 0;
  const bool good = ReadNumber(digits, number) && number <= (UINT64_MAX >> (10 * power));
  number <<= 10 * power;
  if (!good || number < min || number > max) {
    return InvalidField(name, text, "must be a size from %d to %d, which may end in k, m, g or t",
                        min, max);
  }
  return number;
}

Result<uint64_t> ParseSeconds(const std::string& name, const std::string& text, double max) {
  double seconds = 0;
  if (!absl::SimpleAtod(text, &seconds) || !std::isfinite(seconds) || seconds < 0 ||
      seconds > max) {
    return InvalidField(name, text, "must be a number of seconds, up to %.0f", max);
  }
  return static_cast<uint64_t>(seconds * static_cast<double>(kNsPerSecond));
}

Result<std::vector<unsigned>> ParseSet(const std::string& name, const std::string& text,
                                       unsigned max, size_t count_max) {
  std::set<unsigned> found;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::vector<std::string> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    uint64_t first = 0, last = 0;
    if (!ReadNumber(ends.front(), first) || !ReadNumber(ends.back(), last) || first > last ||
        last > max) {
      return InvalidField(name, text, "must be a list such as 0-3,8 of numbers up to %d", max);
    }
    if (last - first >= count_max) return InvalidField(name, text, "has more than %d", count_max);
    for (uint64_t number = first; number <= last; ++number) {
      found.insert(static_cast<unsigned>(number));
    }
    if (found.size() > count_max) return InvalidField(name, text, "has more than %d", count_max);
  }
  return std::vector<unsigned>(found.begin(), found.end());
}

Flags::Take TakeSeconds(const char* name, uint64_t& into_ns) {
  return [name, &into_ns](const std::string& value) -> Status {
    ASSIGN_OR_RETURN(into_ns, ParseSeconds(name, value, kSecondsMax));
    return OkStatus();
  };
}

}  // namespace pollux::cli
