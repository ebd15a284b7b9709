#include "cli/accel_perf/work.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/accel/accel_on_cpu.h"

namespace pollux::cli {
namespace {

struct Step final : AccelOperation {
  explicit Step(AccelOpcode code) { opcode = code; }
  void OnComplete() override {}
};

class AccelWorkTest : public testing::TestWithParam<int> {
 protected:
  static constexpr uint32_t kBytes = 4096;
  AccelOpcode opcode() const { return static_cast<AccelOpcode>(GetParam()); }
  // One byte of what the operation has written.
  static std::byte* Result(AccelOperation& step) {
    const std::span<const iovec> written =
        step.opcode == AccelOpcode::kDixGenerate ? step.other : step.destination;
    const size_t at = step.opcode == AccelOpcode::kDifGenerate ? AccelWork::kBlockBytes : 7;
    return static_cast<std::byte*>(written[0].iov_base) + at;
  }
  std::vector<std::byte> memory_ = std::vector<std::byte>(AccelWork::MemoryBytes(kBytes));
  AccelWork work_{kBytes, memory_.data(), 1};
};

TEST_P(AccelWorkTest, WhatIsRightIsFoundRight) {
  Step step(opcode());
  work_.Prepare(step);
  ASSERT_TRUE(IsValid(step));
  if (!ReadsResults(opcode())) work_.Spoil(step);
  EXPECT_EQ(ExecuteOnCpu(step), AccelStatus::kSuccess);
  EXPECT_EQ(work_.Check(step), "");
}

INSTANTIATE_TEST_SUITE_P(All, AccelWorkTest, testing::Range(0, kAccelOpcodeCount),
                         [](const auto& one) {
                           return AccelOpcodeName(static_cast<AccelOpcode>(one.param));
                         });

// Those that write something.
class AccelWritingTest : public AccelWorkTest {};

TEST_P(AccelWritingTest, WhatIsNotDoneIsFoundWrong) {
  Step step(opcode());
  work_.Prepare(step);
  work_.Spoil(step);
  EXPECT_NE(work_.Check(step), "");
}

TEST_P(AccelWritingTest, AWrongByteIsFound) {
  Step step(opcode());
  work_.Prepare(step);
  EXPECT_EQ(ExecuteOnCpu(step), AccelStatus::kSuccess);
  *Result(step) ^= std::byte{1};
  EXPECT_NE(work_.Check(step), "");
}

constexpr AccelOpcode kWriting[] = {AccelOpcode::kCopy,        AccelOpcode::kFill,
                                    AccelOpcode::kDualcast,    AccelOpcode::kCopyCrc32c,
                                    AccelOpcode::kXor,         AccelOpcode::kDifVerifyCopy,
                                    AccelOpcode::kDifGenerate, AccelOpcode::kDifGenerateCopy,
                                    AccelOpcode::kDixGenerate};
std::vector<int> Writing() {
  std::vector<int> all;
  for (const AccelOpcode one : kWriting) all.push_back(static_cast<int>(one));
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, AccelWritingTest, testing::ValuesIn(Writing()), [](const auto& one) {
  return AccelOpcodeName(static_cast<AccelOpcode>(one.param));
});

TEST(AccelWork, AWrongCrcIsFound) {
  std::vector<std::byte> memory(AccelWork::MemoryBytes(100));
  AccelWork work(100, memory.data(), 1);
  Step step(AccelOpcode::kCrc32c);
  work.Prepare(step);
  EXPECT_EQ(ExecuteOnCpu(step), AccelStatus::kSuccess);
  EXPECT_EQ(work.Check(step), "");
  step.crc ^= 1;
  EXPECT_NE(work.Check(step), "");
}

}  // namespace
}  // namespace pollux::cli
