#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "core/wire_int.h"

namespace pollux::nvmf {

// What the target says of itself: the firmware revision of Identify and of the log pages.
inline constexpr std::string_view kFirmwareRevision = "0.1.0";

// Data for a host that begins with a T, made where it lies: all zero at first. (A T on the stack,
// copied into a string when it is filled in, loses bytes: g++ 12.2 -O2 drops stores to a large
// object that is then copied by an inlined memcpy.)
template <typename T>
class Page {
 public:
  T& operator*() { return *reinterpret_cast<T*>(bytes_.data()); }
  T* operator->() { return &**this; }
  std::string Take() { return std::move(bytes_); }

 private:
  static_assert(alignof(T) == 1);
  std::string bytes_ = std::string(sizeof(T), '\0');
};

template <typename T>
void AppendBytes(std::string& to, const T& data) {
  to.append(reinterpret_cast<const char*>(&data), sizeof(data));
}

// ASCII, filled with spaces; what does not fit is cut off.
template <size_t kBytes>
void SetAscii(char (&field)[kBytes], std::string_view text) {
  std::fill(std::begin(field), std::end(field), ' ');
  std::copy_n(text.begin(), std::min(text.size(), kBytes), field);
}
// UTF-8, ended and filled with NULs.
template <size_t kBytes>
void SetUtf8(char (&field)[kBytes], std::string_view text) {
  std::fill(std::begin(field), std::end(field), '\0');
  std::copy_n(text.begin(), std::min(text.size(), kBytes - 1), field);
}
// A 128-bit number.
inline void SetNumber(uint8_t (&field)[16], uint64_t value) {
  std::fill(std::begin(field), std::end(field), uint8_t{0});
  const Le64 wire = value;
  memcpy(field, &wire, sizeof(wire));
}

inline uint8_t Log2(uint64_t value) { return static_cast<uint8_t>(std::bit_width(value) - 1); }

// Numbers that the standard counts from 0: at least 1, and as many as the field can say.
inline uint16_t ZeroBased16(uint64_t value) {
  return static_cast<uint16_t>(std::clamp<uint64_t>(value, 1, 65536) - 1);
}

}  // namespace pollux::nvmf
