#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace pollux::cli {

// What is written so that a read can tell whether it got the right block, whole, and its newest
// version. A block begins with a magic number, its LBA, its generation and the run's seed, and is
// filled with words that follow from them, no two alike.
struct BlockStamp {
  uint64_t lba = 0;
  uint64_t generation = 0;
  uint64_t seed = 0;
};

// `bytes` is at least 512 and a multiple of 8; so is the alignment of `block`.
void FillBlock(void* block, size_t bytes, const BlockStamp& stamp);

struct Difference {
  size_t offset = 0;  // The first byte that differs.
  std::string text;   // "byte 16 of LBA 7 ...: it holds generation 2 of LBA 9"
};
// Nothing when the block is as FillBlock() makes it. Allocates only when it is not.
std::optional<Difference> CheckBlock(const void* block, size_t bytes, const BlockStamp& stamp);

// The same of several blocks that follow each other: `first` is the stamp of the first of them.
void FillBlocks(void* blocks, size_t count, size_t bytes, BlockStamp first);
std::optional<Difference> CheckBlocks(const void* blocks, size_t count, size_t bytes,
                                      BlockStamp first);

}  // namespace pollux::cli
