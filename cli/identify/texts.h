#pragma once
#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "cli/tool/units.h"

// What numbers of the specification come to.

namespace pollux::cli {

inline std::string ZeroBased(uint64_t value) { return absl::StrFormat("%d (0's based)", value); }
inline std::string Kelvin(uint16_t value) {
  if (value == 0) return "0 (not reported)";
  return absl::StrFormat("%d K (%d C)", value, int{value} - 273);
}
inline std::string UnitsOf(uint64_t value, uint64_t unit_bytes) {
  return absl::StrFormat("%d (%s)", value, BytesText(value * unit_bytes));
}
// Units of 100 ms.
inline std::string Tenths(uint64_t value) {
  return absl::StrFormat("%d (%d.%d s)", value, value / 10, value % 10);
}
inline std::string BytesText128(const uint8_t (&bytes)[16]) {
  const double value = ToDouble128(bytes);
  if (value < 1.8e19) return BytesText(static_cast<uint64_t>(value));
  return absl::StrFormat("%.3g bytes", value);
}

}  // namespace pollux::cli
