#include "targets/iscsi/binary_value.h"

#include <cstdint>

namespace pollux::iscsi {
namespace {

constexpr int kNone = -1;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return kNone;
}

int Base64Digit(char c) {  // RFC 4648 §4
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return kNone;
}

std::optional<std::string> DecodeHex(std::string_view digits) {
  if (digits.size() % 2 != 0 || digits.size() > 2 * kBinaryBytesMax) return std::nullopt;
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2) {
    const int high = HexDigit(digits[i]), low = HexDigit(digits[i + 1]);
    if (high == kNone || low == kNone) return std::nullopt;
    bytes.push_back(static_cast<char>(high << 4 | low));
  }
  return bytes;
}

std::optional<std::string> DecodeBase64(std::string_view digits) {
  constexpr size_t kDigitsMax = (kBinaryBytesMax + 2) / 3 * 4;
  if (digits.size() % 4 != 0 || digits.size() > kDigitsMax) return std::nullopt;
  for (int padding = 0; padding < 2 && digits.ends_with('='); ++padding) digits.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;  // Of valid bits in `bits`: less than 8 between digits.
  for (const char c : digits) {
    const int digit = Base64Digit(c);
    if (digit == kNone) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count));
    bits &= (1u << count) - 1;
  }
  // A value has one spelling: what the last digit has too much is zero.
  if (bits != 0 || bytes.size() > kBinaryBytesMax) return std::nullopt;
  return bytes;
}

}  // namespace

std::optional<std::string> DecodeBinary(std::string_view value) {
  if (value.size() <= 2 || value[0] != '0') return std::nullopt;
  const std::string_view digits = value.substr(2);
  if (value[1] == 'x' || value[1] == 'X') return DecodeHex(digits);
  if (value[1] == 'b' || value[1] == 'B') return DecodeBase64(digits);
  return std::nullopt;
}

std::string EncodeBinary(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "0x";
  for (const char c : bytes) {
    text.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    text.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return text;
}

}  // namespace pollux::iscsi
