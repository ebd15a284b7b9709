#include "rpc/json_number.h"

#include <string>

namespace pollux::rpc {
namespace {

// Beyond this an exponent makes any number too large, or a fraction: no request is as long.
constexpr int64_t kExponentMax = 1'000'000'000;

int64_t ParseExponent(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  for (const char c : text) {
    value = value * 10 + (c - '0');
    if (value > kExponentMax) value = kExponentMax;
  }
  return negative ? -value : value;
}

}  // namespace

WholeNumber ParseWholeNumber(std::string_view text) {
  WholeNumber number{.kind = WholeNumber::Kind::kWhole};
  number.negative = text.starts_with('-');
  if (number.negative) text.remove_prefix(1);

  int64_t exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    exponent = ParseExponent(text.substr(e + 1));
    text = text.substr(0, e);
  }
  // All digits without the point; the number is digits * 10^exponent.
  std::string digits(text);
  if (const size_t point = digits.find('.'); point != std::string::npos) {
    exponent -= static_cast<int64_t>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  digits.erase(0, digits.find_first_not_of('0'));
  while (exponent < 0 && digits.ends_with('0')) {
    digits.pop_back();
    ++exponent;
  }
  if (digits.empty()) return number;  // Zero, whatever the exponent.
  if (exponent < 0) {
    number.kind = WholeNumber::Kind::kFraction;
    return number;
  }
  // 2^64 has 20 digits.
  if (static_cast<int64_t>(digits.size()) + exponent > 20) {
    number.kind = WholeNumber::Kind::kTooLarge;
    return number;
  }
  digits.append(static_cast<size_t>(exponent), '0');
  for (const char c : digits) {
    if (__builtin_mul_overflow(number.magnitude, uint64_t{10}, &number.magnitude) ||
        __builtin_add_overflow(number.magnitude, static_cast<uint64_t>(c - '0'),
                               &number.magnitude)) {
      number.kind = WholeNumber::Kind::kTooLarge;
      return number;
    }
  }
  return number;
}

}  // namespace pollux::rpc
