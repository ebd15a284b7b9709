#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pollux::iscsi {

// Text of login and text PDUs: "key=value", each ended by a NUL byte. RFC 7143 §6.1.
struct KeyValue {
  std::string_view key;
  std::string_view value;
};

// The pairs of `text`, in order; nothing when it is no such text: a pair without '=', an empty or
// too long key, a character that keys cannot have. The last NUL may be missing. The views lie in
// `text`.
std::optional<std::vector<KeyValue>> ParseKeys(std::string_view text);

void AppendKey(std::string& text, std::string_view key, std::string_view value);

// Numbers are decimal or 0x constants. Nothing when it is none, or out of range.
std::optional<uint32_t> ParseNumber(std::string_view value, uint32_t low, uint32_t high);

// The comma-separated values, in order.
std::vector<std::string_view> SplitList(std::string_view list);
// Whether `wanted` is one of the comma-separated values.
bool ListContains(std::string_view list, std::string_view wanted);

}  // namespace pollux::iscsi
