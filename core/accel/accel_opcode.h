#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace pollux {

// What the accel layer does with memory.
enum class AccelOpcode : uint8_t {
  kCopy,
  kFill,
  kDualcast,  // One source, two destinations.
  kCompare,
  kCrc32c,
  kCopyCrc32c,  // A copy, and the CRC of what was copied, in one pass.
  kXor,
  kDifVerify,        // Protection information between the blocks (DIF): looked at,
  kDifVerifyCopy,    // looked at and left out of the copy,
  kDifGenerate,      // made in its place,
  kDifGenerateCopy,  // put in while the data is copied.
  kDixGenerate,      // Protection information beside the blocks (DIX): made,
  kDixVerify,        // looked at.
};
inline constexpr int kAccelOpcodeCount = 13;

// "copy", "copy_crc32c", "dif_verify_copy": as accel_get_opc_assignments has them.
const char* AccelOpcodeName(AccelOpcode opcode);
std::optional<AccelOpcode> ParseAccelOpcode(std::string_view name);

}  // namespace pollux
