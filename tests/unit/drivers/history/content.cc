#include "tests/unit/drivers/history/content.h"

#include <cstring>

#include "core/status.h"

namespace pollux::history {
namespace {

// Odd: the words of a block differ, and so does the same word of different blocks.
constexpr uint64_t kStep = 0x9e3779b97f4a7c15;

constexpr uint64_t WordOf(Value value, size_t index) {
  return value == kZeroes ? 0 : value + index * kStep;
}

}  // namespace

void FillBlock(std::byte* block, size_t bytes, Value value) {
  for (size_t i = 0; i < bytes / 8; ++i) {
    const uint64_t word = WordOf(value, i);
    memcpy(block + 8 * i, &word, 8);
  }
}

Value ReadBlock(const std::byte* block, size_t bytes) {
  Value value;
  memcpy(&value, block, 8);
  uint64_t wrong = 0;
  for (size_t i = 1; i < bytes / 8; ++i) {
    uint64_t word;
    memcpy(&word, block + 8 * i, 8);
    wrong |= word ^ WordOf(value, i);
  }
  return wrong == 0 ? value : kTorn;
}

std::string Describe(Value value) {
  if (value == kZeroes) return "zeroes";
  if (value == kTorn) return "a torn block";
  return absl::StrFormat("write %u of block %u", value / kLbasMax, value % kLbasMax);
}

}  // namespace pollux::history
