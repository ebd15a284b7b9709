#include "targets/nvmf/protection.h"

#include "core/accel/protection.h"

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

uint16_t StatusOf(ProtectionFault::Field field) {
  switch (field) {
    case ProtectionFault::Field::kGuard:
      return kGuardCheckError;
    case ProtectionFault::Field::kApplicationTag:
      return kApplicationTagCheckError;
    case ProtectionFault::Field::kReferenceTag:
      return kReferenceTagCheckError;
  }
  return kInternalError;
}

}  // namespace

uint16_t CheckProtection(const Geometry& geometry, const ProtectionCheck& check, uint64_t index,
                         std::span<const std::byte> blocks, uint64_t& lba) {
  const Protection protection{
      .format = {.block_bytes = geometry.block_bytes,
                 .metadata_bytes = geometry.metadata_bytes,
                 .type = geometry.protection_type,
                 .first = geometry.protection_first},
      .tags = {.application = check.tag,
               .reference = check.first_reference_tag + static_cast<uint32_t>(index)},
      .checks = {.guard = check.guard,
                 .application_tag = check.application_tag,
                 .reference_tag = check.reference_tag,
                 .application_mask = check.tag_mask}};
  const iovec whole{const_cast<std::byte*>(blocks.data()), blocks.size()};  // NOLINT: it is read.
  const uint64_t count = blocks.size() / geometry.data_block_bytes();
  const ProtectionResult fault = VerifyProtection(protection, count, {&whole, 1});
  if (!fault) return kSuccess;
  lba += fault->block;
  return StatusOf(fault->field);
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
