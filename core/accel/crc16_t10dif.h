#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux {

// CRC-16 of T10-DIF, polynomial 8BB7h, as protection information has it for its guard. Several
// pieces: hand each the result of the one before.
uint16_t Crc16T10Dif(std::span<const std::byte> data, uint16_t before = 0);

}  // namespace pollux
