#pragma once
#include <string>
#include <string_view>

#include "absl/strings/str_format.h"

namespace pollux {

// `text` as a JSON string, with its quotes. For the few values that a driver shows as JSON; bytes
// that are not ASCII are taken as Latin-1, so that the result is valid whatever a device says.
inline std::string JsonStringOfLatin1(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') json += '\\';
    if (byte < 0x20 || byte >= 0x7f) {
      json += absl::StrFormat("\\u%04x", unsigned{byte});
    } else {
      json += c;
    }
  }
  return json + '"';
}

}  // namespace pollux
