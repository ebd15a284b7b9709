#include "cli/accel_perf/work.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "core/accel/crc32c.h"
#include "core/accel/protection.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kAlignment = 64;

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
uint64_t Blocks(uint32_t bytes) { return bytes / AccelWork::kBlockBytes; }

std::span<const iovec> One(const iovec& piece) { return {&piece, 1}; }
std::byte* Begin(const iovec& piece) { return static_cast<std::byte*>(piece.iov_base); }

std::string Difference(const iovec& found, const std::byte* expected) {
  const std::byte* const begin = Begin(found);
  const auto [at, right] = std::mismatch(begin, begin + found.iov_len, expected);
  if (at == begin + found.iov_len) return {};
  return absl::StrFormat("byte %d is %02xh, not %02xh", at - begin, static_cast<int>(*at),
                         static_cast<int>(*right));
}

}  // namespace

bool IsOfProtection(AccelOpcode opcode) { return opcode >= AccelOpcode::kDifVerify; }

bool ReadsResults(AccelOpcode opcode) {
  return opcode == AccelOpcode::kCompare || opcode == AccelOpcode::kDifVerify ||
         opcode == AccelOpcode::kDifVerifyCopy || opcode == AccelOpcode::kDixVerify;
}

uint64_t AccelWork::MemoryBytes(uint32_t bytes) {
  const uint64_t metadata = Blocks(bytes) * kMetadataBytes;
  return 7 * Aligned(bytes) + Aligned(bytes + metadata) + Aligned(metadata);
}

AccelWork::AccelWork(uint32_t bytes, std::byte* memory, uint64_t seed)
    : protection_{.what = {.format = {.block_bytes = kBlockBytes, .metadata_bytes = kMetadataBytes},
                           .tags = {.application = 0x5ca1, .reference = 7}},
                  .fault = {}} {
  const auto take = [&memory](uint64_t size) {
    const iovec piece{memory, size};
    memory += Aligned(size);
    return piece;
  };
  const uint64_t metadata = Blocks(bytes) * kMetadataBytes;
  for (iovec* piece : {&source_, &second_, &third_, &copy_, &other_copy_, &filled_, &sum_}) {
    *piece = take(bytes);
  }
  blocks_ = take(bytes + metadata);
  metadata_ = take(metadata);
  sources_ = {source_, second_, third_};

  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (const iovec& piece : sources_) {
    for (size_t i = 0; i < bytes; ++i) {
      state = state * 6364136223846793005 + 1442695040888963407;
      Begin(piece)[i] = static_cast<std::byte>(state >> 56);
    }
  }
  true_crc_ = Crc32c({Begin(source_), bytes});
  for (size_t i = 0; i < bytes; ++i) {
    true_sum_.push_back(Begin(source_)[i] ^ Begin(second_)[i] ^ Begin(third_)[i]);
  }
  memcpy(copy_.iov_base, source_.iov_base, bytes);
  if (bytes % kBlockBytes != 0) return;
  InsertProtection(protection_.what, Blocks(bytes), One(source_), One(blocks_));
  GenerateProtection(protection_.what, Blocks(bytes), One(source_), {Begin(metadata_), metadata});
  true_blocks_.assign(Begin(blocks_), Begin(blocks_) + blocks_.iov_len);
  true_metadata_.assign(Begin(metadata_), Begin(metadata_) + metadata);
}

void AccelWork::Prepare(AccelOperation& operation) {
  switch (operation.opcode) {
    case AccelOpcode::kCopy:
    case AccelOpcode::kCopyCrc32c:
      operation.source = One(source_);
      operation.destination = One(copy_);
      break;
    case AccelOpcode::kFill:
      operation.destination = One(filled_);
      operation.pattern = kPattern;
      break;
    case AccelOpcode::kDualcast:
      operation.source = One(source_);
      operation.destination = One(copy_);
      operation.other = One(other_copy_);
      break;
    case AccelOpcode::kCompare:
      operation.source = One(source_);
      operation.other = One(copy_);
      break;
    case AccelOpcode::kCrc32c:
      operation.source = One(source_);
      break;
    case AccelOpcode::kXor:
      operation.source = sources_;
      operation.destination = One(sum_);
      break;
    case AccelOpcode::kDifVerify:
      operation.source = One(blocks_);
      break;
    case AccelOpcode::kDifVerifyCopy:
      operation.source = One(blocks_);
      operation.destination = One(copy_);
      break;
    case AccelOpcode::kDifGenerate:
      operation.destination = One(blocks_);
      break;
    case AccelOpcode::kDifGenerateCopy:
      operation.source = One(source_);
      operation.destination = One(blocks_);
      break;
    case AccelOpcode::kDixGenerate:
    case AccelOpcode::kDixVerify:
      operation.source = One(source_);
      operation.other = One(metadata_);
      break;
  }
  if (IsOfProtection(operation.opcode)) operation.protection = &protection_;
  operation.crc = 0;
}

void AccelWork::Spoil(AccelOperation& operation) {
  const auto spoil = [](const iovec& piece) {
    memset(piece.iov_base, ~static_cast<int>(*Begin(piece)), piece.iov_len);
  };
  switch (operation.opcode) {
    case AccelOpcode::kDixGenerate:
      return spoil(metadata_);
    case AccelOpcode::kDualcast:
      spoil(other_copy_);
      return spoil(copy_);
    case AccelOpcode::kDifGenerate:  // The data is in its place already.
      for (size_t at = kBlockBytes; at < blocks_.iov_len; at += kBlockBytes + kMetadataBytes) {
        memset(Begin(blocks_) + at, 0xee, kMetadataBytes);
      }
      return;
    default:
      for (const iovec& piece : operation.destination) spoil(piece);
  }
}

std::string AccelWork::Check(const AccelOperation& operation) {
  switch (operation.opcode) {
    case AccelOpcode::kFill:
      for (size_t i = 0; i < filled_.iov_len; ++i) {
        if (Begin(filled_)[i] == static_cast<std::byte>(kPattern >> (i % 8 * 8))) continue;
        return absl::StrFormat("byte %d is not the pattern's", i);
      }
      return {};
    case AccelOpcode::kDualcast:
      if (std::string wrong = Difference(other_copy_, Begin(source_)); !wrong.empty()) return wrong;
      return Difference(copy_, Begin(source_));
    case AccelOpcode::kCopyCrc32c:
    case AccelOpcode::kCrc32c:
      if (operation.crc != true_crc_) {
        return absl::StrFormat("the CRC is %08xh, not %08xh", operation.crc, true_crc_);
      }
      if (operation.opcode == AccelOpcode::kCrc32c) return {};
      return Difference(copy_, Begin(source_));
    case AccelOpcode::kCopy:
    case AccelOpcode::kDifVerifyCopy:
      return Difference(copy_, Begin(source_));
    case AccelOpcode::kXor:
      return Difference(sum_, true_sum_.data());
    case AccelOpcode::kDifGenerate:
    case AccelOpcode::kDifGenerateCopy:
      return Difference(blocks_, true_blocks_.data());
    case AccelOpcode::kDixGenerate:
      return Difference(metadata_, true_metadata_.data());
    case AccelOpcode::kCompare:
    case AccelOpcode::kDifVerify:
    case AccelOpcode::kDixVerify:
      return {};  // Their status has said it.
  }
  return {};
}

}  // namespace pollux::cli
