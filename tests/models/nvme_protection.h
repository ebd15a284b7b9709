#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/spec/nvme_spec.h"

namespace pollux::models {

// How a namespace protects its blocks: 16-bit guard. NVM §5.2.
struct Protection {
  uint8_t type = 0;             // DPS 2:0; 0: none.
  bool first = false;           // DPS 3: the first 8 bytes of the metadata, else the last.
  uint16_t metadata_bytes = 0;  // Of a block.

  size_t offset() const { return first ? 0 : metadata_bytes - 8u; }
};

// What a command asks to be checked, and with what.
struct ProtectionCheck {
  bool guard = false, application_tag = false, reference_tag = false;
  uint32_t first_reference_tag = 0;  // ILBRT or EILBRT: of the command's first block.
  uint16_t tag = 0, tag_mask = 0;    // LBAT, LBATM.

  static ProtectionCheck Of(const nvme::SubmissionEntry& sqe);
};

// CRC-16 of T10-DIF, polynomial 8bb7h.
uint16_t Crc16T10(uint16_t crc, std::span<const std::byte> data);

// The information for a block: `metadata` is all of the block's, and its part before the
// information is guarded too.
nvme::ProtectionInformation MakeProtection(const Protection& protection,
                                           const ProtectionCheck& check, uint64_t index,
                                           std::span<const std::byte> data,
                                           std::span<const std::byte> metadata);

// Block number `index` of a command. Returns a status code.
uint16_t CheckProtection(const Protection& protection, const ProtectionCheck& check, uint64_t index,
                         std::span<const std::byte> data, std::span<const std::byte> metadata);

}  // namespace pollux::models
