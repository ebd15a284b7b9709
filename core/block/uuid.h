#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux {

// 16 bytes, in the order of RFC 4122's text form.
struct Uuid {
  std::array<uint8_t, 16> bytes{};
  static Uuid Random();                              // Version 4, from getrandom().
  static Result<Uuid> Parse(std::string_view text);  // "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".
  // A new one for "", and an error that names `field` for what is not a UUID.
  static Result<Uuid> ParseOrRandom(std::string_view field, std::string_view text);
  std::string ToString() const;  // Lower case.
  bool operator==(const Uuid&) const = default;
};

}  // namespace pollux
