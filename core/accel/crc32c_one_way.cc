#include "core/accel/crc32c_forms.h"
#include "core/accel/crc32c_math.h"

namespace pollux::crc32c {

uint32_t OneWay(const std::byte* from, size_t bytes, uint32_t remainder) {
  uint64_t wide = remainder;
  for (; bytes >= 8; bytes -= 8, from += 8) wide = Next(wide, from);
  remainder = static_cast<uint32_t>(wide);
  if ((bytes & 4) != 0) {
    remainder = _mm_crc32_u32(remainder, Load<uint32_t>(from));
    from += 4;
  }
  if ((bytes & 2) != 0) {
    remainder = _mm_crc32_u16(remainder, Load<uint16_t>(from));
    from += 2;
  }
  if ((bytes & 1) != 0) remainder = _mm_crc32_u8(remainder, Load<uint8_t>(from));
  return remainder;
}

}  // namespace pollux::crc32c
