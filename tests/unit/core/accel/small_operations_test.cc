#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "core/accel/compare.h"
#include "core/accel/dualcast.h"
#include "core/accel/fill.h"
#include "core/accel/xor.h"

namespace pollux {
namespace {

using Bytes = std::vector<std::byte>;

Bytes Noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// A place to write to, with bytes around it that must stay.
class Target {
 public:
  Target(size_t offset, size_t bytes) : offset_(offset), size_(bytes) {
    bytes_.assign(offset + bytes + kGuard, kUntouched);
  }
  std::byte* data() { return bytes_.data() + offset_; }
  std::span<std::byte> span() { return {data(), size_}; }
  bool Holds(std::span<const std::byte> want) const {
    const auto untouched = [](std::byte byte) { return byte == kUntouched; };
    const std::span all(bytes_);
    const auto before = all.first(offset_), in = all.subspan(offset_, size_),
               after = all.subspan(offset_ + size_);
    return std::all_of(before.begin(), before.end(), untouched) &&
           std::all_of(after.begin(), after.end(), untouched) &&
           std::equal(in.begin(), in.end(), want.begin(), want.end());
  }

 private:
  static constexpr size_t kGuard = 70;
  static constexpr std::byte kUntouched{0xa5};
  size_t offset_, size_;
  Bytes bytes_;
};

constexpr size_t kLengths[] = {2047, 2048, 2049, 4095, 4096, 4097, 6144, 10000, 65536, 65543};

template <typename F>
void ForLengths(F f) {
  for (size_t bytes = 0; bytes <= 1100; ++bytes) {
    f(bytes, bytes % 67);
    if (testing::Test::HasFatalFailure()) return;
  }
  for (const size_t bytes : kLengths) {
    for (const size_t offset : {0u, 1u, 31u, 64u}) f(bytes, offset);
  }
}

TEST(DualcastTest, BothGetAllAndNothingElse) {
  ForLengths([](size_t bytes, size_t offset) {
    const Bytes from = Noise(bytes, 1);
    Target first(offset, bytes), second(offset / 2, bytes);
    Dualcast(first.data(), second.data(), from);
    ASSERT_TRUE(first.Holds(from)) << bytes << " at " << offset;
    ASSERT_TRUE(second.Holds(from)) << bytes << " at " << offset / 2;
  });
}

TEST(FillTest, RepeatsThePatternLowByteFirst) {
  for (const uint64_t pattern : {0x0123456789abcdefu, uint64_t{0}, ~uint64_t{0},
                                 0x5a5a5a5a5a5a5a5au, uint64_t{1}, 0x01u | uint64_t{1} << 63}) {
    ForLengths([pattern](size_t bytes, size_t offset) {
      Bytes want(bytes);
      for (size_t i = 0; i < bytes; ++i) {
        want[i] = static_cast<std::byte>(pattern >> 8 * (i % 8));
      }
      Target to(offset, bytes);
      FillWithPattern(to.span(), pattern);
      ASSERT_TRUE(to.Holds(want)) << bytes << " at " << offset;
    });
  }
}

TEST(FirstDifferenceTest, FindsNoneWhereThereIsNone) {
  ForLengths([](size_t bytes, size_t offset) {
    const Bytes a = Noise(bytes, 1);
    Target b(offset, bytes);
    std::copy(a.begin(), a.end(), b.data());
    ASSERT_EQ(FirstDifference(a, b.span()), std::nullopt) << bytes;
  });
}

TEST(FirstDifferenceTest, FindsEachByte) {
  const Bytes a = Noise(10000, 1);
  Bytes b = a;
  for (size_t at = 0; at < a.size(); ++at) {
    b[at] ^= std::byte{0x80};
    if (at + 1 < a.size()) b.back() ^= std::byte{1};  // A later one makes no difference.
    ASSERT_EQ(FirstDifference(a, b), at);
    b[at] = a[at];
    b.back() = a.back();
  }
}

TEST(XorTest, IsTheSumOfAllSources) {
  for (const size_t count : {1u, 2u, 3u, 5u, 16u, 32u, 33u, 40u}) {
    std::vector<Bytes> blocks;
    for (uint32_t i = 0; i < count; ++i) blocks.push_back(Noise(70000, i));
    for (const bool aligned : {true, false}) {
      const auto start = [&](size_t i) {
        const auto at = reinterpret_cast<uintptr_t>(blocks[i].data());
        return (64 - at % 64) % 64 + (aligned ? 0 : (i * 5) % 32 + 1);
      };
      std::vector<size_t> lengths{512, 4096, 65536, 65543, 1001};
      for (size_t bytes = 0; bytes < 300; ++bytes) lengths.push_back(bytes);
      for (const size_t bytes : lengths) {
        std::vector<const std::byte*> sources;
        for (size_t i = 0; i < count; ++i) sources.push_back(blocks[i].data() + start(i));
        Bytes want(bytes);
        for (const std::byte* source : sources) {
          for (size_t i = 0; i < bytes; ++i) want[i] ^= source[i];
        }
        Target probe(0, bytes);
        const auto address = reinterpret_cast<uintptr_t>(probe.data());
        Target to(aligned ? (64 - address % 64) % 64 : bytes % 41, bytes);
        XorInto(to.data(), sources, bytes);
        ASSERT_TRUE(to.Holds(want)) << count << " sources of " << bytes;
      }
    }
  }
}

TEST(XorTest, ResultMayBeOneOfTheSources) {
  constexpr size_t kBytes = 4099;
  alignas(64) static std::byte memory[3][4160];
  for (const size_t offset : {0u, 32u, 7u}) {
    for (size_t place = 0; place < 3; ++place) {
      Bytes want(kBytes);
      std::vector<const std::byte*> sources;
      for (uint32_t i = 0; i < 3; ++i) {
        const Bytes noise = Noise(kBytes, i);
        std::copy(noise.begin(), noise.end(), memory[i] + offset);
        for (size_t at = 0; at < kBytes; ++at) want[at] ^= noise[at];
        sources.push_back(memory[i] + offset);
      }
      XorInto(memory[place] + offset, sources, kBytes);
      ASSERT_TRUE(std::equal(want.begin(), want.end(), memory[place] + offset)) << place;
    }
  }
}

}  // namespace
}  // namespace pollux
