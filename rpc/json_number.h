#pragma once
#include <cstdint>
#include <string_view>

namespace pollux::rpc {

// A JSON number as a whole number, exactly: "1e3" and "10.0" are whole, and no digit passes through
// a double.
struct WholeNumber {
  enum class Kind {
    kWhole,
    kFraction,  // Digits other than 0 stand after the point.
    kTooLarge,  // For 64 bits.
  };
  Kind kind;
  bool negative = false;
  uint64_t magnitude = 0;
};

// `text` is a JSON number, checked.
WholeNumber ParseWholeNumber(std::string_view text);

}  // namespace pollux::rpc
