#include "service/core_times.h"

#include <gtest/gtest.h>

namespace pollux::service {
namespace {

TEST(CoreTimesTest, EachCoreHasALine) {
  const auto cores = CoreTimes::Parse(
      "cpu  6 8 10 12 0 7 9 0 0 0\n"
      "cpu0 1 2 4 8 16 32 64 128 256 512\n"
      "cpu12 5 6 6 4 0 0 0 0 0 0\n"
      "intr 8845762 0 0 0\n"
      "cpus 1 2 3 4 5 6 7\n");
  ASSERT_EQ(cores.size(), 2u);
  EXPECT_EQ(cores.at(0).user, 1u + 2u);
  EXPECT_EQ(cores.at(0).system, 4u);
  EXPECT_EQ(cores.at(0).interrupt, 32u + 64u);
  EXPECT_EQ(cores.at(12).user, 11u);
}

TEST(CoreTimesTest, ALineThatCannotBeReadIsLeftOut) {
  EXPECT_TRUE(CoreTimes::Parse("").empty());
  EXPECT_TRUE(CoreTimes::Parse("cpu0 1 2 3 4 5 6\n").empty());
  EXPECT_TRUE(CoreTimes::Parse("cpu0 1 2 3 x 5 6 7\n").empty());
  EXPECT_TRUE(CoreTimes::Parse("cpu-1 1 2 3 4 5 6 7\n").empty());
  EXPECT_TRUE(CoreTimes::Parse("cpu0x 1 2 3 4 5 6 7\n").empty());
  EXPECT_TRUE(CoreTimes::Parse("cpu99999999999 1 2 3 4 5 6 7\n").empty());
}

TEST(CoreTimesTest, ACoreThatIsNotThereHasNone) {
  const CoreTimes times = CoreTimesSince().Of(1 << 20);
  EXPECT_EQ(times.user + times.system + times.interrupt, 0u);
}

}  // namespace
}  // namespace pollux::service
