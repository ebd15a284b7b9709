// What an operation must make, done by the CPU and held to a slow form.
#include "cli/ioat_perf/work.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

namespace pollux::cli {
namespace {

uint8_t Times(uint8_t a, uint8_t b) {
  unsigned product = 0, shifted = a;
  for (; b != 0; b = static_cast<uint8_t>(b >> 1)) {
    if ((b & 1) != 0) product ^= shifted;
    shifted = (shifted << 1) ^ ((shifted & 0x80) != 0 ? 0x11du : 0u);
  }
  return static_cast<uint8_t>(product);
}

struct Prepared {
  Prepared(IoatOperation operation, size_t bytes, unsigned sources) {
    IoatPerfOptions options;
    options.operation = operation;
    options.bytes = static_cast<uint32_t>(bytes);
    options.sources = sources;
    const IoatWork::Shape shape = IoatWork::Shape::Of(options);
    memory.resize(shape.memory_bytes());
    work.emplace_back(shape, memory.data(), 7);
  }
  IoatWork& operator*() { return work.front(); }
  IoatWork* operator->() { return &work.front(); }
  std::vector<std::byte> memory;
  std::vector<IoatWork> work;
};

TEST(IoatWork, IsCheckedAfterItWasDone) {
  for (const IoatOperation operation :
       {IoatOperation::kCopy, IoatOperation::kFill, IoatOperation::kXor, IoatOperation::kPq}) {
    for (const size_t bytes : {1u, 7u, 8u, 9u, 4096u, 5003u}) {
      Prepared work(operation, bytes, 5);
      for (int round = 0; round < 3; ++round) {
        work->Change();
        EXPECT_NE(work->Check(), "") << bytes;
        work->DoByCpu();
        EXPECT_EQ(work->Check(), "") << bytes;
      }
    }
  }
}

TEST(IoatWork, EachByteOfEachResultIsChecked) {
  for (const IoatOperation operation :
       {IoatOperation::kCopy, IoatOperation::kFill, IoatOperation::kXor, IoatOperation::kPq}) {
    constexpr size_t kBytes = 21;
    Prepared work(operation, kBytes, 3);
    work->DoByCpu();
    for (unsigned target = 0; target < work->shape().targets; ++target) {
      for (size_t i = 0; i < kBytes; ++i) {
        work->target(target)[i] ^= std::byte{4};
        EXPECT_NE(work->Check().find("byte " + std::to_string(i)), std::string::npos);
        work->target(target)[i] ^= std::byte{4};
      }
    }
    EXPECT_EQ(work->Check(), "");
  }
}

TEST(IoatWork, PAndQAreThoseOfRaid6) {
  for (unsigned sources = 2; sources <= 8; ++sources) {
    constexpr size_t kBytes = 100;
    Prepared work(IoatOperation::kPq, kBytes, sources);
    work->DoByCpu();
    for (size_t i = 0; i < kBytes; ++i) {
      unsigned p = 0, q = 0;
      for (unsigned s = 0; s < sources; ++s) {
        const auto byte = static_cast<const uint8_t*>(work->sources()[s])[i];
        p ^= byte;
        q ^= Times(IoatWork::coefficients()[s], byte);
      }
      ASSERT_EQ(std::to_integer<unsigned>(work->target(0)[i]), p) << sources;
      ASSERT_EQ(std::to_integer<unsigned>(work->target(1)[i]), q) << sources;
    }
  }
}

TEST(IoatWork, WritesNothingBesideItsTargets) {
  Prepared work(IoatOperation::kCopy, 10, 1);
  work->DoByCpu();
  EXPECT_EQ(work->target()[10], std::byte{0});
  EXPECT_EQ(work->shape().memory_bytes(), 128u);
}

}  // namespace
}  // namespace pollux::cli
