#include "tests/models/nvme_protection.h"

#include <array>
#include <cstring>

namespace pollux::models {
namespace {

constexpr std::array<uint16_t, 256> MakeTable() {
  std::array<uint16_t, 256> table{};
  for (unsigned i = 0; i < 256; ++i) {
    auto crc = static_cast<uint16_t>(i << 8);
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? crc << 1 ^ 0x8bb7 : crc << 1);
    }
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint16_t, 256> kTable = MakeTable();

uint16_t Guard(const Protection& protection, std::span<const std::byte> data,
               std::span<const std::byte> metadata) {
  const uint16_t crc = Crc16T10(0, data);
  return Crc16T10(crc, metadata.first(protection.offset()));
}

// Type 3's reference tag belongs to the application.
uint32_t ReferenceTag(const Protection& protection, const ProtectionCheck& check, uint64_t index) {
  return protection.type == 3 ? check.first_reference_tag
                              : static_cast<uint32_t>(check.first_reference_tag + index);
}

}  // namespace

ProtectionCheck ProtectionCheck::Of(const nvme::SubmissionEntry& sqe) {
  const uint32_t cdw12 = sqe.cdw12;
  const uint32_t cdw15 = sqe.cdw15;
  return {.guard = nvme::cdw12::kPrchkGuard.Get(cdw12) != 0,
          .application_tag = nvme::cdw12::kPrchkApp.Get(cdw12) != 0,
          .reference_tag = nvme::cdw12::kPrchkRef.Get(cdw12) != 0,
          .first_reference_tag = sqe.cdw14,
          .tag = static_cast<uint16_t>(cdw15),
          .tag_mask = static_cast<uint16_t>(cdw15 >> 16)};
}

uint16_t Crc16T10(uint16_t crc, std::span<const std::byte> data) {
  for (const std::byte byte : data) {
    crc = static_cast<uint16_t>(crc << 8 ^ kTable[(crc >> 8) ^ std::to_integer<unsigned>(byte)]);
  }
  return crc;
}

nvme::ProtectionInformation MakeProtection(const Protection& protection,
                                           const ProtectionCheck& check, uint64_t index,
                                           std::span<const std::byte> data,
                                           std::span<const std::byte> metadata) {
  return {.guard = Guard(protection, data, metadata),
          .application_tag = check.tag,
          .reference_tag = ReferenceTag(protection, check, index)};
}

uint16_t CheckProtection(const Protection& protection, const ProtectionCheck& check, uint64_t index,
                         std::span<const std::byte> data, std::span<const std::byte> metadata) {
  nvme::ProtectionInformation found;
  std::memcpy(&found, metadata.data() + protection.offset(), sizeof found);
  // The escape: nothing is checked. NVM §5.2.1.4.
  if (found.application_tag == 0xffff &&
      (protection.type != 3 || found.reference_tag == 0xffffffff)) {
    return nvme::status::kSuccess;
  }
  if (check.guard && found.guard != Guard(protection, data, metadata)) {
    return nvme::status::kGuardCheckError;
  }
  if (check.application_tag &&
      (found.application_tag & check.tag_mask) != (check.tag & check.tag_mask)) {
    return nvme::status::kApplicationTagCheckError;
  }
  if (check.reference_tag && protection.type != 3 &&
      found.reference_tag != ReferenceTag(protection, check, index)) {
    return nvme::status::kReferenceTagCheckError;
  }
  return nvme::status::kSuccess;
}

}  // namespace pollux::models
