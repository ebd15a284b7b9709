#include "targets/nvmf/protection.h"

#include <cstring>

#include "core/accel/crc16_t10dif.h"

namespace pollux::nvmf {

using namespace nvme::status;

ProtectionCheck ProtectionCheckOf(uint32_t prinfo, uint32_t reference_tag, uint16_t tag,
                                  uint16_t tag_mask) {
  return {.guard = (prinfo & 4) != 0,
          .application_tag = (prinfo & 2) != 0,
          .reference_tag = (prinfo & 1) != 0,
          .first_reference_tag = reference_tag,
          .tag = tag,
          .tag_mask = tag_mask};
}

ProtectionCheck ProtectionCheckOf(const nvme::SubmissionEntry& entry) {
  const uint32_t cdw15 = entry.cdw15;
  return ProtectionCheckOf(entry.cdw12 >> kPrinfoShift, entry.cdw14, static_cast<uint16_t>(cdw15),
                           static_cast<uint16_t>(cdw15 >> 16));
}

// §5.2.2.5: of type 1 the first reference tag is the block's address; of type 3 it is the
// application's, and cannot be checked.
uint16_t CheckPrinfo(const Geometry& geometry, uint32_t prinfo, uint32_t reference_tag,
                     uint64_t lba) {
  if ((prinfo & kPract) != 0) return kInvalidField | kDnrBit;
  if ((prinfo & 1) == 0) return kSuccess;
  const bool wrong = geometry.protection_type == 3 ||
                     (geometry.protection_type == 1 && reference_tag != static_cast<uint32_t>(lba));
  return wrong ? kInvalidProtectionInformation | kDnrBit : kSuccess;
}

namespace {

uint16_t CheckBlock(const Geometry& geometry, const ProtectionCheck& check, uint64_t index,
                    std::span<const std::byte> block) {
  const size_t at =
      geometry.block_bytes + (geometry.protection_first
                                  ? 0
                                  : geometry.metadata_bytes - sizeof(nvme::ProtectionInformation));
  nvme::ProtectionInformation found;
  std::memcpy(&found, block.data() + at, sizeof(found));
  // The escape: the block is not to be checked. §5.2.1.4
  const bool escapes = found.application_tag == 0xffff &&
                       (geometry.protection_type != 3 || found.reference_tag == 0xffffffff);
  if (escapes) return kSuccess;
  if (check.guard && found.guard != Crc16T10Dif(block.first(at))) return kGuardCheckError;
  if (check.application_tag &&
      (found.application_tag & check.tag_mask) != (check.tag & check.tag_mask)) {
    return kApplicationTagCheckError;
  }
  const auto expected = static_cast<uint32_t>(check.first_reference_tag + index);
  if (check.reference_tag && found.reference_tag != expected) return kReferenceTagCheckError;
  return kSuccess;
}

}  // namespace

uint16_t CheckProtection(const Geometry& geometry, const ProtectionCheck& check, uint64_t index,
                         std::span<const std::byte> blocks, uint64_t& lba) {
  const size_t block_bytes = geometry.data_block_bytes();
  for (size_t at = 0; at < blocks.size(); at += block_bytes, ++index, ++lba) {
    const uint16_t status = CheckBlock(geometry, check, index, blocks.subspan(at, block_bytes));
    if (status != kSuccess) return status;
  }
  return kSuccess;
}

uint16_t CheckBurst(Execution& e) {
  if (!ChecksProtection(e)) [[likely]] {
    return kSuccess;
  }
  const nvme::SubmissionEntry& entry = e.entry();
  const uint64_t first = uint64_t{entry.cdw11} << 32 | entry.cdw10;
  const size_t bytes = size_t{e.transfer.burst_blocks} * e.channel().data_block_bytes();
  uint64_t lba = e.transfer.lba;
  const uint16_t status = CheckProtection(e.facts().geometry, ProtectionCheckOf(entry), lba - first,
                                          {e.buffer(), bytes}, lba);
  if (status != kSuccess) e.io.lba = lba;
  return status;
}

}  // namespace pollux::nvmf
