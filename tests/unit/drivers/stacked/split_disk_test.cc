#include "drivers/stacked/split_disk.h"

#include <gtest/gtest.h>

#include "tests/unit/drivers/stacked/stacked_world.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;
using testing_world::StackedTest;
using testing_world::TestIo;

class SplitDiskTest : public StackedTest {
 protected:
  Status Split(SplitOptions options) {
    return world_.Run(
        stacks_.Create({.name = "split",
                        .title = "a split",
                        .bases = {"disk"},
                        .field = "base_bdev",
                        .make = [options](const std::vector<BlockDevice*>& bases) -> Made {
                          return MakeSplitDisks(options, *bases.front());
                        }}));
  }
  BlockDevice& Part(const std::string& name) { return **world_.devices.Find(name); }
};

TEST_F(SplitDiskTest, PartsLieOneBehindTheOther) {
  ManualDisk& base = AddBase();
  ASSERT_TRUE(Split({.split_count = 3}).ok());
  EXPECT_EQ(stacks_.DisksOf("split"), (std::vector<std::string>{"diskp0", "diskp1", "diskp2"}));
  BlockDevice& second = Part("diskp1");
  EXPECT_EQ(second.product_name(), "Split Disk");
  EXPECT_EQ(second.geometry().blocks, 341u);
  EXPECT_EQ(second.DriverSpecificJson(), R"({"split":{"base_bdev":"disk","offset_blocks":341}})");
  TestIo write(IoType::kWrite, 340, 1, 512, 3), behind(IoType::kRead, 341, 1, 512);
  EXPECT_EQ(Do(second, write), IoStatus::kSuccess);
  EXPECT_EQ(base.memory()[681 * 512], std::byte{3});
  EXPECT_EQ(Do(second, behind), IoStatus::kOutOfRange);
  EXPECT_NE(Part("diskp0").uuid(), second.uuid());
}

TEST_F(SplitDiskTest, ASizeInMebibytesDecidesHowManyThereAre) {
  ManualDisk::Options options = AnyBase();
  options.geometry = {.block_bytes = 512, .blocks = 5 * 2048};
  AddBase(options);
  ASSERT_TRUE(Split({.split_count = 9, .split_size_mb = 2}).ok());
  EXPECT_EQ(stacks_.DisksOf("split").size(), 2u);
  EXPECT_EQ(Part("diskp1").geometry().blocks, 4096u);
}

TEST_F(SplitDiskTest, LendsFromItsOwnPlace) {
  ManualDisk::Options options = AnyBase();
  options.lends = true;
  ManualDisk& base = AddBase(options);
  ASSERT_TRUE(Split({.split_count = 2}).ok());
  BlockChannel& channel = *Part("diskp1").channel(0);
  Loan loan{.write = true, .lba = 5, .blocks = 2};
  world_.On(0, [&] { ASSERT_TRUE(channel.TryLend(loan)); });
  EXPECT_EQ(loan.parts[0].iov_base, &base.memory()[(512 + 5) * 512]);
  EXPECT_EQ(loan.lba, 5u);
  world_.On(0, [&] { channel.Return(loan); });
  EXPECT_EQ(base.at(0).loans(), 0u);
}

TEST_F(SplitDiskTest, AResetOfOnePartLeavesTheOthersAlone) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  options.abortable = true;
  options.executes.push_back(IoType::kReset);
  ManualDisk& base = AddBase(options);
  ASSERT_TRUE(Split({.split_count = 2}).ok());
  TestIo mine(IoType::kRead, 0, 1, 512), others(IoType::kRead, 0, 1, 512),
      reset(IoType::kReset, 0, 0);
  Submit(Part("diskp0"), mine);
  Submit(Part("diskp1"), others);
  EXPECT_EQ(Do(Part("diskp0"), reset), IoStatus::kSuccess);
  EXPECT_EQ(mine.status, IoStatus::kAborted);
  EXPECT_EQ(others.calls, 0);
  base.at(0).EndAll();
  world_.Turns(4);
  EXPECT_EQ(others.status, IoStatus::kSuccess);
}

TEST_F(SplitDiskTest, OnePartMayGoBeforeTheOthers) {
  ManualDisk& base = AddBase();
  ASSERT_TRUE(Split({.split_count = 2}).ok());
  Remove("diskp0");
  EXPECT_EQ(base.claim(), ClaimType::kExclusiveWrite);
  EXPECT_TRUE(world_.Run(stacks_.Delete("split")).ok());
  EXPECT_EQ(base.claim(), ClaimType::kNone);
}

TEST_F(SplitDiskTest, ANameThatIsTakenTakesAllPartsBack) {
  AddBase();
  ManualDisk::Options options = AnyBase();
  options.name = "diskp1";
  AddBase(options);
  EXPECT_EQ(ErrnoOf(Split({.split_count = 3})), EEXIST);
  EXPECT_FALSE(Has("diskp0"));
  EXPECT_TRUE(Part("disk").users().empty());
  Remove("diskp1");
}

TEST_F(SplitDiskTest, ABaseThatGrowsOrShrinksLeavesPartsAsTheyAre) {
  ManualDisk& base = AddBase();
  ASSERT_TRUE(Split({.split_count = 2}).ok());
  EXPECT_TRUE(world_.Run(world_.devices.Resize(base, 700)).ok());
  world_.Turns(20);
  EXPECT_EQ(Part("diskp1").geometry().blocks, 512u);
  TestIo lost(IoType::kRead, 500, 1, 512), there(IoType::kRead, 100, 1, 512);
  EXPECT_EQ(Do(Part("diskp1"), lost), IoStatus::kOutOfRange);
  EXPECT_EQ(Do(Part("diskp1"), there), IoStatus::kSuccess);
}

TEST_F(SplitDiskTest, ParametersThatMakeNoSenseAreRefused) {
  ManualDisk::Options options = AnyBase();
  options.geometry = {.block_bytes = 512, .blocks = 2, .metadata_bytes = 8, .protection_type = 1};
  AddBase(options);
  EXPECT_EQ(DetailOf(Split({.split_count = 0})).field, "split_count");
  EXPECT_EQ(DetailOf(Split({.split_count = kSplitCountMax + 1})).field, "split_count");
  EXPECT_EQ(DetailOf(Split({.split_count = 3})).field, "split_count");
  EXPECT_EQ(DetailOf(Split({.split_count = 1, .split_size_mb = 1})).field, "split_size_mb");
  EXPECT_EQ(DetailOf(Split({.split_count = 1, .split_size_mb = UINT64_MAX})).field,
            "split_size_mb");
  EXPECT_EQ(DetailOf(Split({.split_count = 2})).field, "base_bdev");  // Blocks know their number.
  EXPECT_TRUE(Split({.split_count = 1}).ok());
}

}  // namespace
}  // namespace pollux
