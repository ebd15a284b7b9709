#include "cli/ioat_perf/work.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_format.h"
#include "cli/tool/random.h"

namespace pollux::cli {
namespace {

constexpr uint8_t kCoefficients[kIoatSourcesMax] = {1, 2, 4, 8, 16, 32, 64, 128};
// An odd number, so that the pattern takes all values.
constexpr uint64_t kPatternStep = 0x9e3779b97f4a7c15;

// Twice each of eight bytes in GF(2^8), polynomial 11dh.
uint64_t Doubled(uint64_t bytes) {
  const uint64_t high = bytes >> 7 & 0x0101010101010101;
  return (bytes << 1 & 0xfefefefefefefefe) ^ high * 0x1d;
}

// Eight bytes of each source at a time. The coefficients are the powers of 2, so that Q is made by
// Horner's rule.
template <typename Take>
void ForEachWord(const IoatWork& work, const Take& take) {
  const IoatWork::Shape& shape = work.shape();
  for (size_t at = 0; at < shape.bytes; at += 8) {
    const size_t bytes = std::min<size_t>(8, shape.bytes - at);
    uint64_t p = 0, q = 0;
    for (unsigned s = shape.sources; s-- > 0;) {
      uint64_t word = 0;
      std::memcpy(&word, static_cast<const std::byte*>(work.sources()[s]) + at, bytes);
      p ^= word;
      q = Doubled(q) ^ word;
    }
    take(at, bytes, p, q);
  }
}

}  // namespace

IoatWork::Shape IoatWork::Shape::Of(const IoatPerfOptions& options) {
  Shape shape;
  shape.operation = options.operation;
  shape.bytes = options.bytes;
  shape.sources = options.has_sources()                       ? options.sources
                  : options.operation == IoatOperation::kFill ? 0
                                                              : 1;
  shape.targets = options.operation == IoatOperation::kPq ? 2 : 1;
  return shape;
}

IoatWork::IoatWork(const Shape& shape, std::byte* memory, uint64_t seed) : shape_(shape) {
  Random random(seed);
  pattern_ = random.Next();
  first_source_ = memory;
  for (unsigned s = 0; s < shape.sources; ++s, memory += shape.part_bytes()) {
    sources_[s] = memory;
    for (size_t at = 0; at < shape.part_bytes(); at += 8) {
      const uint64_t word = random.Next();
      std::memcpy(memory + at, &word, sizeof word);
    }
  }
  for (unsigned t = 0; t < shape.targets; ++t, memory += shape.part_bytes()) targets_[t] = memory;
}

const uint8_t* IoatWork::coefficients() { return kCoefficients; }

void IoatWork::Change() {
  pattern_ += kPatternStep;
  if (shape_.sources == 0) return;
  const size_t bytes = std::min<size_t>(8, shape_.bytes);
  std::memcpy(first_source_, &pattern_, bytes);
  std::memcpy(first_source_ + shape_.bytes - bytes, &pattern_, bytes);
}

void IoatWork::DoByCpu() const {
  switch (shape_.operation) {
    case IoatOperation::kCopy:
      std::memcpy(targets_[0], source(), shape_.bytes);
      return;
    case IoatOperation::kFill:
      for (size_t at = 0; at < shape_.bytes; at += 8) {
        std::memcpy(targets_[0] + at, &pattern_, std::min<size_t>(8, shape_.bytes - at));
      }
      return;
    case IoatOperation::kXor:
      ForEachWord(*this, [this](size_t at, size_t bytes, uint64_t p, uint64_t /*q*/) {
        std::memcpy(targets_[0] + at, &p, bytes);
      });
      return;
    case IoatOperation::kPq:
      ForEachWord(*this, [this](size_t at, size_t bytes, uint64_t p, uint64_t q) {
        std::memcpy(targets_[0] + at, &p, bytes);
        std::memcpy(targets_[1] + at, &q, bytes);
      });
      return;
  }
}

std::string IoatWork::Check() const {
  std::string difference;
  const auto check = [&](const std::byte* found, size_t at, const void* expected, size_t bytes,
                         const char* what) {
    if (!difference.empty() || std::memcmp(found + at, expected, bytes) == 0) return;
    const auto* wanted = static_cast<const std::byte*>(expected);
    const size_t i =
        static_cast<size_t>(std::mismatch(wanted, wanted + bytes, found + at).first - wanted);
    difference = absl::StrFormat("byte %d of %s is %02x instead of %02x", at + i, what,
                                 std::to_integer<unsigned>(found[at + i]),
                                 std::to_integer<unsigned>(wanted[i]));
  };
  switch (shape_.operation) {
    case IoatOperation::kCopy:
      check(targets_[0], 0, source(), shape_.bytes, "the copy");
      break;
    case IoatOperation::kFill:
      for (size_t at = 0; at < shape_.bytes; at += 8) {
        check(targets_[0], at, &pattern_, std::min<size_t>(8, shape_.bytes - at),
              "what was filled");
      }
      break;
    case IoatOperation::kXor:
    case IoatOperation::kPq:
      ForEachWord(*this, [&](size_t at, size_t bytes, uint64_t p, uint64_t q) {
        check(targets_[0], at, &p, bytes, shape_.targets == 2 ? "P" : "the XOR");
        if (shape_.targets == 2) check(targets_[1], at, &q, bytes, "Q");
      });
      break;
  }
  return difference;
}

}  // namespace pollux::cli
