#include "core/accel/crc16_t10dif.h"

#include <isa-l/crc.h>

namespace pollux {

uint16_t Crc16T10Dif(std::span<const std::byte> data, uint16_t before) {
  return crc16_t10dif(before, reinterpret_cast<const unsigned char*>(data.data()), data.size());
}

}  // namespace pollux
