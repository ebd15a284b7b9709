#include "cli/tool/units.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pollux::cli {
namespace {

using Number128 [[gnu::mode(TI)]] = unsigned;

Number128 Read128(const uint8_t (&bytes)[16]) {
  Number128 value = 0;
  for (size_t i = sizeof(bytes); i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

std::string WithCommas(uint64_t number) {
  std::string out = std::to_string(number);
  for (size_t at = out.size(); at > 3;) out.insert(at -= 3, ",");
  return out;
}

std::string BytesText(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  while (unit + 1 < std::size(kUnits) && bytes >> (10 * (unit + 1)) != 0) ++unit;
  const uint64_t one = uint64_t{1} << (10 * unit);
  if (bytes % one == 0) return absl::StrFormat("%d %s", bytes / one, kUnits[unit]);
  return absl::StrFormat("%.1f %s", static_cast<double>(bytes) / static_cast<double>(one),
                         kUnits[unit]);
}

std::string TimeText(uint64_t ns) {
  static constexpr const char* kUnits[] = {"ns", "us", "ms", "s"};
  double value = static_cast<double>(ns);
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

std::string ShortenedText(const std::string& text, size_t most) {
  return text.size() <= most ? text : "..." + text.substr(text.size() - most + 3);
}

std::string Decimal128(const uint8_t (&bytes)[16]) {
  std::string out;
  Number128 value = Read128(bytes);
  do {
    out.push_back(static_cast<char>('0' + static_cast<int>(value % 10)));
    value /= 10;
  } while (value != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

double ToDouble128(const uint8_t (&bytes)[16]) { return static_cast<double>(Read128(bytes)); }

}  // namespace pollux::cli
