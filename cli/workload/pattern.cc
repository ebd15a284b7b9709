#include "cli/workload/pattern.h"

#include <cstring>

#include "absl/strings/str_format.h"
#include "core/check.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kMagic = 0x6650'7875'6c6c'6f50;  // "PolluxPf"
constexpr size_t kHeaderWords = 4;
constexpr uint64_t kStep = 0x9e37'79b9'7f4a'7c15;  // Odd, so that 2^64 words differ.

// The finaliser of MurmurHash3: each bit of the input changes half of the output's.
constexpr uint64_t Mix(uint64_t value) {
  value = (value ^ value >> 33) * 0xff51'afd7'ed55'8ccd;
  value = (value ^ value >> 33) * 0xc4ce'b9fe'1a85'ec53;
  return value ^ value >> 33;
}

constexpr uint64_t KeyOf(const BlockStamp& stamp) {
  return Mix(Mix(Mix(stamp.lba + kMagic) + stamp.generation) + stamp.seed);
}

struct Header {
  uint64_t magic, lba, generation, seed;
};
static_assert(sizeof(Header) == kHeaderWords * sizeof(uint64_t));

Header HeaderOf(const BlockStamp& stamp) {
  return {kMagic, stamp.lba, stamp.generation, stamp.seed};
}

// What lies there instead, as far as one can tell.
std::string Found(const unsigned char* bytes, size_t size, const BlockStamp& stamp) {
  Header header;
  std::memcpy(&header, bytes, sizeof(header));
  if (header.magic == kMagic && header.seed != stamp.seed) return "it was written by another run";
  if (header.magic == kMagic &&
      (header.lba != stamp.lba || header.generation != stamp.generation)) {
    return absl::StrFormat("it holds generation %d of LBA %d", header.generation, header.lba);
  }
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != 0) return "its beginning is right, or no block's";
  }
  return "it holds zeroes";
}

}  // namespace

void FillBlock(void* block, size_t bytes, const BlockStamp& stamp) {
  CHECK(bytes >= sizeof(Header) && bytes % sizeof(uint64_t) == 0);
  auto* words = static_cast<uint64_t*>(block);
  const Header header = HeaderOf(stamp);
  std::memcpy(words, &header, sizeof(header));
  const uint64_t key = KeyOf(stamp);
  for (size_t i = kHeaderWords; i < bytes / sizeof(uint64_t); ++i) words[i] = key + i * kStep;
}

std::optional<Difference> CheckBlock(const void* block, size_t bytes, const BlockStamp& stamp) {
  CHECK(bytes >= sizeof(Header) && bytes % sizeof(uint64_t) == 0);
  const auto* words = static_cast<const uint64_t*>(block);
  const Header header = HeaderOf(stamp);
  const uint64_t key = KeyOf(stamp);
  uint64_t wrong = 0;
  for (size_t i = kHeaderWords; i < bytes / sizeof(uint64_t); ++i) {
    wrong |= words[i] ^ (key + i * kStep);
  }
  if (wrong == 0 && std::memcmp(words, &header, sizeof(header)) == 0) [[likely]] {
    return std::nullopt;
  }

  uint64_t expected[kHeaderWords];
  std::memcpy(expected, &header, sizeof(header));
  const auto* found = static_cast<const unsigned char*>(block);
  size_t offset = 0;
  for (; offset < bytes; ++offset) {
    const size_t i = offset / sizeof(uint64_t);
    const uint64_t word = i < kHeaderWords ? expected[i] : key + i * kStep;
    if (found[offset] != static_cast<unsigned char>(word >> 8 * (offset % 8))) break;
  }
  return Difference{
      offset, absl::StrFormat("byte %d of LBA %d differs from generation %d: %s", offset, stamp.lba,
                              stamp.generation, Found(found, bytes, stamp))};
}

void FillBlocks(void* blocks, size_t count, size_t bytes, BlockStamp first) {
  auto* block = static_cast<std::byte*>(blocks);
  for (; count > 0; --count, block += bytes, ++first.lba) FillBlock(block, bytes, first);
}

std::optional<Difference> CheckBlocks(const void* blocks, size_t count, size_t bytes,
                                      BlockStamp first) {
  const auto* block = static_cast<const std::byte*>(blocks);
  for (; count > 0; --count, block += bytes, ++first.lba) {
    if (auto difference = CheckBlock(block, bytes, first)) return difference;
  }
  return std::nullopt;
}

}  // namespace pollux::cli
