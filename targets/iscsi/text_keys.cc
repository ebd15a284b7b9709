#include "targets/iscsi/text_keys.h"

#include <algorithm>
#include <charconv>

#include "targets/iscsi/iscsi_spec.h"

namespace pollux::iscsi {
namespace {

// §6.1: letters, digits, and . - + @ _ / [ ] :
bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view(".-+@_/[]:#").find(c) != std::string_view::npos;
}

bool IsKey(std::string_view key) {
  if (key.empty() || key.size() > kKeyBytesMax) return false;
  for (const char c : key) {
    if (!IsKeyCharacter(c)) return false;
  }
  return true;
}

}  // namespace

std::optional<std::vector<KeyValue>> ParseKeys(std::string_view text) {
  std::vector<KeyValue> pairs;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    if (pair.empty()) continue;  // Padding that was counted as text.
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !IsKey(pair.substr(0, equals))) return std::nullopt;
    pairs.push_back({pair.substr(0, equals), pair.substr(equals + 1)});
  }
  return pairs;
}

void AppendKey(std::string& text, std::string_view key, std::string_view value) {
  text.append(key);
  text.push_back('=');
  text.append(value);
  text.push_back('\0');
}

std::optional<uint32_t> ParseNumber(std::string_view value, uint32_t low, uint32_t high) {
  int base = 10;
  if (value.starts_with("0x") || value.starts_with("0X")) {
    value.remove_prefix(2);
    base = 16;
  }
  uint32_t number = 0;
  const auto [end, error] =
      std::from_chars(value.data(), value.data() + value.size(), number, base);
  if (error != std::errc() || end != value.data() + value.size()) return std::nullopt;
  if (number < low || number > high) return std::nullopt;
  return number;
}

std::vector<std::string_view> SplitList(std::string_view list) {
  std::vector<std::string_view> values;
  for (;;) {
    const size_t comma = list.find(',');
    values.push_back(list.substr(0, comma));
    if (comma == std::string_view::npos) return values;
    list.remove_prefix(comma + 1);
  }
}

bool ListContains(std::string_view list, std::string_view wanted) {
  const std::vector<std::string_view> values = SplitList(list);
  return std::find(values.begin(), values.end(), wanted) != values.end();
}

}  // namespace pollux::iscsi
