#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace pollux::iscsi {

// Binary values in text: hexadecimal behind "0x", Base64 behind "0b". RFC 7143 §6.1.
inline constexpr size_t kBinaryBytesMax = 1024;  // §12.1.3

// The bytes, 1 to kBinaryBytesMax of them; nothing when `value` is none of the two, has half a
// byte, or padding that is not where Base64 has it.
std::optional<std::string> DecodeBinary(std::string_view value);

// "0x" and lower-case digits, which every initiator reads.
std::string EncodeBinary(std::string_view bytes);

}  // namespace pollux::iscsi
