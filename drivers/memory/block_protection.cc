#include "drivers/memory/block_protection.h"

#include <array>

#include "core/accel/byte_walk.h"
#include "core/accel/compare.h"

namespace pollux {
namespace {

uint32_t DataBytes(const Geometry& geometry) {
  return geometry.metadata_interleaved ? geometry.block_bytes : 0;
}

uint32_t BytesBefore(const Geometry& geometry) {
  return geometry.protection_first ? 0 : geometry.metadata_bytes - kProtectionBytes;
}

}  // namespace

BlockProtection::BlockProtection(const Geometry& geometry)
    : interleaved_(geometry.metadata_interleaved),
      protection_{.format = {.block_bytes = geometry.block_bytes,
                             .metadata_bytes = geometry.metadata_bytes,
                             .type = geometry.protection_type,
                             .first = geometry.protection_first},
                  .tags = {},
                  .checks = {.guard = geometry.checks_guard,
                             .application_tag = false,  // It is the application's.
                             .reference_tag = geometry.checks_reference_tag}},
      metadata_bytes_(geometry.metadata_bytes),
      stride_(DataBytes(geometry) + geometry.metadata_bytes),
      offset_(DataBytes(geometry) + BytesBefore(geometry)) {}

// The reference tag is the low half of the block's address, of type 2 as well: requests have none
// of their own. Of type 3 it is not looked at.
Protection BlockProtection::Of(uint64_t lba) const {
  Protection protection = protection_;
  if (protection.format.type != 3) protection.tags.reference = static_cast<uint32_t>(lba);
  return protection;
}

bool BlockProtection::Verify(const IoRequest& request) const {
  const Protection protection = Of(request.lba);
  if (interleaved_) return !VerifyProtection(protection, request.blocks, request.data);
  const std::span<const std::byte> metadata(request.metadata, request.blocks * metadata_bytes_);
  return !VerifyProtection(protection, request.blocks, request.data, metadata);
}

void BlockProtection::Generate(uint64_t lba, uint64_t blocks, std::span<const iovec> data,
                               std::span<std::byte> metadata) const {
  GenerateProtection(Of(lba), blocks, data, metadata);
}

void BlockProtection::Invert(uint64_t blocks, std::span<const iovec> where) const {
  ByteWalk walk(where);
  for (uint64_t block = 0; block < blocks; ++block) {
    walk.Skip(offset_);
    for (size_t left = kProtectionBytes; left > 0;) {
      const std::span<std::byte> piece = walk.Next(left);
      for (std::byte& byte : piece) byte = ~byte;
      left -= piece.size();
    }
    walk.Skip(stride_ - offset_ - kProtectionBytes);
  }
}

std::optional<uint64_t> BlockProtection::Compare(std::span<const std::byte> pages,
                                                 std::span<const iovec> given) const {
  ByteWalk walk(given);
  uint64_t at = 0;
  const auto differs = [&walk, &at](std::span<const std::byte> own) {
    while (!own.empty()) {
      const std::span<const std::byte> piece = walk.Next(own.size());
      const auto difference = FirstDifference(own.first(piece.size()), piece);
      at += difference.value_or(piece.size());
      if (difference) return true;
      own = own.subspan(piece.size());
    }
    return false;
  };
  for (; !pages.empty(); pages = pages.subspan(stride_)) {
    if (differs(pages.first(offset_))) return at;
    std::array<std::byte, kProtectionBytes> kept;
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = ~pages[offset_ + i];
    if (differs(kept)) return at;
    if (differs(pages.subspan(offset_ + kProtectionBytes, stride_ - offset_ - kProtectionBytes))) {
      return at;
    }
  }
  return std::nullopt;
}

}  // namespace pollux
