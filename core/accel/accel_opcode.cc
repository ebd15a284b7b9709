#include "core/accel/accel_opcode.h"

#include <array>

namespace pollux {
namespace {

constexpr std::array<const char*, kAccelOpcodeCount> kNames = {"copy",
                                                               "fill",
                                                               "dualcast",
                                                               "compare",
                                                               "crc32c",
                                                               "copy_crc32c",
                                                               "xor",
                                                               "dif_verify",
                                                               "dif_verify_copy",
                                                               "dif_generate",
                                                               "dif_generate_copy",
                                                               "dix_generate",
                                                               "dix_verify"};

}  // namespace

const char* AccelOpcodeName(AccelOpcode opcode) { return kNames[static_cast<size_t>(opcode)]; }

std::optional<AccelOpcode> ParseAccelOpcode(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<AccelOpcode>(i);
  }
  return std::nullopt;
}

}  // namespace pollux
