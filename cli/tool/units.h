#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

// Numbers as people like to read them.

namespace pollux::cli {

// "1,234,567".
std::string WithCommas(uint64_t number);
// "4 KiB", "1.8 TiB": with one decimal where it is not whole.
std::string BytesText(uint64_t bytes);
// "850 ns", "12.3 us", "4.56 ms", "1.2 s": three digits.
std::string TimeText(uint64_t ns);
// No longer than `most`: of what is longer the end tells more.
std::string ShortenedText(const std::string& text, size_t most);
// A number of 16 bytes, little-endian, in decimal digits.
std::string Decimal128(const uint8_t (&bytes)[16]);
// The same as a double, for what is only read by people.
double ToDouble128(const uint8_t (&bytes)[16]);

}  // namespace pollux::cli
