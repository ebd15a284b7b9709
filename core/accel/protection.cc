#include "core/accel/protection.h"

#include "core/accel/byte_walk.h"
#include "core/accel/crc16_t10dif.h"
#include "core/check.h"
#include "core/spec/nvme_spec.h"

namespace pollux {
namespace {

using nvme::ProtectionInformation;
static_assert(sizeof(ProtectionInformation) == kProtectionBytes);

// The metadata around the protection information: what is before it is guarded.
uint32_t BytesBefore(const ProtectionFormat& format) {
  return format.first ? 0 : format.metadata_bytes - kProtectionBytes;
}
uint32_t BytesAfter(const ProtectionFormat& format) {
  return format.first ? format.metadata_bytes - kProtectionBytes : 0;
}

uint32_t ReferenceTag(const Protection& protection, uint64_t block) {
  const uint32_t rise = protection.format.type == 3 ? 0 : static_cast<uint32_t>(block);
  return protection.tags.reference + rise;
}

uint16_t GuardOf(ByteWalk& walk, size_t bytes, uint16_t guard = 0) {
  while (bytes > 0) {
    const std::span<const std::byte> piece = walk.Next(bytes);
    guard = Crc16T10Dif(piece, guard);
    bytes -= piece.size();
  }
  return guard;
}

// The same where the guard is looked at; otherwise the bytes are passed over.
uint16_t GuardToVerify(const Protection& protection, ByteWalk& walk, size_t bytes,
                       uint16_t guard = 0) {
  if (protection.checks.guard) return GuardOf(walk, bytes, guard);
  walk.Skip(bytes);
  return 0;
}

// GuardOf, and the bytes are copied.
uint16_t CopyAndGuard(ByteWalk& to, ByteWalk& from, size_t bytes, uint16_t guard = 0) {
  while (bytes > 0) {
    const std::span<const std::byte> piece = from.Next(bytes);
    bytes -= piece.size();
    to.Write(piece.data(), piece.size());
    guard = Crc16T10Dif(piece, guard);
  }
  return guard;
}

ProtectionInformation Generate(const Protection& protection, uint64_t block, uint16_t guard) {
  return {.guard = guard,
          .application_tag = protection.tags.application,
          .reference_tag = ReferenceTag(protection, block)};
}

ProtectionResult Verify(const Protection& protection, uint64_t block, uint16_t guard,
                        const ProtectionInformation& found) {
  using Field = ProtectionFault::Field;
  const ProtectionChecks& checks = protection.checks;
  const bool type_3 = protection.format.type == 3;
  const uint16_t application = found.application_tag;
  if (application == 0xffff && (!type_3 || found.reference_tag == 0xffffffff)) return std::nullopt;
  if (checks.guard && found.guard != guard) {
    return ProtectionFault{Field::kGuard, block, guard, found.guard};
  }
  const uint16_t tag = protection.tags.application;
  if (checks.application_tag && ((application ^ tag) & checks.application_mask) != 0) {
    return ProtectionFault{Field::kApplicationTag, block, tag, application};
  }
  const uint32_t reference = ReferenceTag(protection, block);
  if (checks.reference_tag && !type_3 && found.reference_tag != reference) {
    return ProtectionFault{Field::kReferenceTag, block, reference, found.reference_tag};
  }
  return std::nullopt;
}

}  // namespace

void GenerateProtection(const Protection& protection, uint64_t blocks,
                        std::span<const iovec> interleaved) {
  const ProtectionFormat& format = protection.format;
  CHECK(format.valid());
  ByteWalk walk(interleaved);
  for (uint64_t block = 0; block < blocks; ++block) {
    const uint16_t guard = GuardOf(walk, format.block_bytes + BytesBefore(format));
    const ProtectionInformation made = Generate(protection, block, guard);
    walk.Write(&made, sizeof(made));
    walk.Skip(BytesAfter(format));
  }
}

ProtectionResult VerifyProtection(const Protection& protection, uint64_t blocks,
                                  std::span<const iovec> interleaved) {
  const ProtectionFormat& format = protection.format;
  CHECK(format.valid());
  ByteWalk walk(interleaved);
  for (uint64_t block = 0; block < blocks; ++block) {
    const uint16_t guard =
        GuardToVerify(protection, walk, format.block_bytes + BytesBefore(format));
    ProtectionInformation found;
    walk.Read(&found, sizeof(found));
    walk.Skip(BytesAfter(format));
    const ProtectionResult wrong = Verify(protection, block, guard, found);
    if (wrong) return wrong;
  }
  return std::nullopt;
}

void InsertProtection(const Protection& protection, uint64_t blocks, std::span<const iovec> data,
                      std::span<const iovec> interleaved) {
  const ProtectionFormat& format = protection.format;
  CHECK(format.valid());
  ByteWalk from(data), to(interleaved);
  for (uint64_t block = 0; block < blocks; ++block) {
    uint16_t guard = CopyAndGuard(to, from, format.block_bytes);
    for (uint32_t left = BytesBefore(format); left > 0;) {
      const std::span<std::byte> piece = to.Next(left);
      std::memset(piece.data(), 0, piece.size());
      guard = Crc16T10Dif(piece, guard);
      left -= static_cast<uint32_t>(piece.size());
    }
    const ProtectionInformation made = Generate(protection, block, guard);
    to.Write(&made, sizeof(made));
    to.Zero(BytesAfter(format));
  }
}

ProtectionResult StripProtection(const Protection& protection, uint64_t blocks,
                                 std::span<const iovec> interleaved, std::span<const iovec> data) {
  const ProtectionFormat& format = protection.format;
  CHECK(format.valid());
  ByteWalk from(interleaved), to(data);
  for (uint64_t block = 0; block < blocks; ++block) {
    uint16_t guard = CopyAndGuard(to, from, format.block_bytes);
    guard = GuardOf(from, BytesBefore(format), guard);
    ProtectionInformation found;
    from.Read(&found, sizeof(found));
    from.Skip(BytesAfter(format));
    const ProtectionResult wrong = Verify(protection, block, guard, found);
    if (wrong) return wrong;
  }
  return std::nullopt;
}

void GenerateProtection(const Protection& protection, uint64_t blocks, std::span<const iovec> data,
                        std::span<std::byte> metadata) {
  const ProtectionFormat& format = protection.format;
  CHECK(format.valid());
  CHECK(metadata.size() / format.metadata_bytes >= blocks);
  ByteWalk walk(data);
  for (uint64_t block = 0; block < blocks; ++block) {
    const auto own = metadata.subspan(block * format.metadata_bytes, format.metadata_bytes);
    const uint16_t guard =
        Crc16T10Dif(own.first(BytesBefore(format)), GuardOf(walk, format.block_bytes));
    const ProtectionInformation made = Generate(protection, block, guard);
    std::memcpy(own.data() + BytesBefore(format), &made, sizeof(made));
  }
}

ProtectionResult VerifyProtection(const Protection& protection, uint64_t blocks,
                                  std::span<const iovec> data,
                                  std::span<const std::byte> metadata) {
  const ProtectionFormat& format = protection.format;
  CHECK(format.valid());
  CHECK(metadata.size() / format.metadata_bytes >= blocks);
  ByteWalk walk(data);
  for (uint64_t block = 0; block < blocks; ++block) {
    const auto own = metadata.subspan(block * format.metadata_bytes, format.metadata_bytes);
    const uint16_t guard = Crc16T10Dif(own.first(BytesBefore(format)),
                                       GuardToVerify(protection, walk, format.block_bytes));
    ProtectionInformation found;
    std::memcpy(&found, own.data() + BytesBefore(format), sizeof(found));
    const ProtectionResult wrong = Verify(protection, block, guard, found);
    if (wrong) return wrong;
  }
  return std::nullopt;
}

}  // namespace pollux
