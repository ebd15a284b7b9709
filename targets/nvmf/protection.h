#pragma once
#include <cstdint>

#include "targets/nvmf/execution.h"

// Protection information: NVM §5.2, with a guard of 16 bits. It passes through as a part of the
// blocks' metadata, and is checked where the host asks for it (PRCHK). That the controller makes
// and strips it (PRACT) is not offered.

namespace pollux::nvmf {

// What is to be checked of blocks, and against what.
struct ProtectionCheck {
  bool guard = false, application_tag = false, reference_tag = false;
  uint32_t first_reference_tag = 0;  // Of the command's first block.
  uint16_t tag = 0, tag_mask = 0;

  bool any() const { return guard || application_tag || reference_tag; }
};

// PRINFO: four bits, in dword 12 of most commands there.
inline constexpr uint32_t kPrinfoMask = 0xf, kPract = 1 << 3, kPrchk = 7;
inline constexpr unsigned kPrinfoShift = 26;
inline constexpr uint8_t kPrinfoByte = 51, kPrinfoBit = 2;
// What dwords 12, 14 and 15 ask for.
ProtectionCheck ProtectionCheckOf(const nvme::SubmissionEntry& entry);
ProtectionCheck ProtectionCheckOf(uint32_t prinfo, uint32_t reference_tag, uint16_t tag,
                                  uint16_t tag_mask);

// Whether this command asks for checks of what the namespace has.
inline bool ChecksProtection(Execution& e) {
  return (e.entry().cdw12 >> kPrinfoShift & kPrchk) != 0 && e.facts().geometry.protection_type != 0;
}

// What is wrong with PRINFO itself for a namespace with protection information, whose `prinfo` is
// not 0 and whose first block is `lba`.
uint16_t CheckPrinfo(const Geometry& geometry, uint32_t prinfo, uint32_t reference_tag,
                     uint64_t lba);

// Whole blocks, with their metadata, the first of which is number `index` of the command and has
// address `lba`. Where they are wrong, `lba` becomes the address of the block that is.
uint16_t CheckProtection(const Geometry& geometry, const ProtectionCheck& check, uint64_t index,
                         std::span<const std::byte> blocks, uint64_t& lba);

// The burst under way of a read, write, compare or verify, in the command's buffer: the block at
// fault is in e.io.lba. Success too when nothing is asked for.
uint16_t CheckBurst(Execution& e);

}  // namespace pollux::nvmf
