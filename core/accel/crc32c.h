#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux {

// CRC32C (Castagnoli), as iSCSI and NVMe/TCP use it for digests: initial value and final inversion
// included. Several pieces: hand each the result of the one before.
//
//   uint32_t crc = Crc32c(header);
//   crc = Crc32c(data, crc);
uint32_t Crc32c(std::span<const std::byte> data, uint32_t before = 0);

}  // namespace pollux
