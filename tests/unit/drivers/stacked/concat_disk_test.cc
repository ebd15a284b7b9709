#include "drivers/stacked/concat_disk.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/drivers/stacked/stacked_world.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;
using testing_world::StackedTest;
using testing_world::TestIo;

// Three disks of 20, 41 and 16 blocks; strips of 4 make that 20, 40 and 16.
class ConcatDiskTest : public StackedTest {
 protected:
  static ManualDisk::Options Member(const std::string& name, uint64_t blocks) {
    ManualDisk::Options options = AnyBase();
    options.name = name;
    options.geometry.blocks = blocks;
    return options;
  }
  void AddThree(bool at_once = true) {
    for (const auto& [name, blocks] : std::vector<std::pair<std::string, uint64_t>>{
             {"disk", 20}, {"other", 41}, {"third", 16}}) {
      ManualDisk::Options options = Member(name, blocks);
      options.at_once = at_once;
      options.lends = true;
      AddBase(options);
    }
  }
  Status Concat(const ConcatOptions& options,
                std::vector<std::string> bases = {"disk", "other", "third"}) {
    return world_.Run(
        stacks_.Create({.name = "Big",
                        .title = "a concatenation",
                        .bases = std::move(bases),
                        .field = "base_bdevs",
                        .make = [options](const std::vector<BlockDevice*>& found) -> Made {
                          auto one = MakeConcatDisk(options, found);
                          RETURN_IF_ERROR(one.status());
                          std::vector<std::unique_ptr<StackedDisk>> disks;
                          disks.push_back(*std::move(one));
                          return disks;
                        }}));
  }
  BlockDevice& Big() {
    EXPECT_TRUE(Concat({.name = "Big", .uuid = "", .strip_size_kb = 2}).ok());
    return **world_.devices.Find("Big");
  }
  ManualDisk& At(const std::string& name) {
    return static_cast<ManualDisk&>(**world_.devices.Find(name));
  }
};

TEST_F(ConcatDiskTest, CountsWithWholeStrips) {
  AddThree();
  BlockDevice& disk = Big();
  EXPECT_EQ(disk.product_name(), "Raid Volume");
  EXPECT_EQ(disk.geometry().blocks, 76u);
  EXPECT_EQ(disk.geometry().optimal_boundary_blocks, 20u);
  const auto members = static_cast<ConcatDisk&>(disk).members();
  EXPECT_EQ(members[1].name, "other");
  EXPECT_EQ(members[1].data_blocks, 40u);
  EXPECT_NE(disk.DriverSpecificJson().find(R"("num_base_bdevs":3)"), std::string::npos);
}

TEST_F(ConcatDiskTest, IoGoesToWhereItsBlocksAreAndAcrossMembers) {
  AddThree();
  BlockDevice& disk = Big();
  TestIo write(IoType::kWrite, 0, 76, 76 * 512);
  for (size_t i = 0; i < write.buffer.size(); ++i) {
    write.buffer[i] = static_cast<std::byte>(i / 512 + 1);
  }
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(At("disk").memory()[19 * 512], std::byte{20});
  EXPECT_EQ(At("other").memory()[0], std::byte{21});
  EXPECT_EQ(At("other").memory()[39 * 512], std::byte{60});
  EXPECT_EQ(At("other").memory()[40 * 512], std::byte{0});
  EXPECT_EQ(At("third").memory()[15 * 512], std::byte{76});
  for (uint64_t lba = 0; lba < 76; lba += 7) {
    const uint64_t blocks = std::min<uint64_t>(30, 76 - lba);
    TestIo read(IoType::kRead, lba, blocks, blocks * 512),
        compare(IoType::kCompare, lba, blocks, blocks * 512);
    EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
    EXPECT_TRUE(std::equal(read.buffer.begin(), read.buffer.end(),
                           write.buffer.begin() + static_cast<ptrdiff_t>(lba * 512)));
    compare.buffer = read.buffer;
    compare.UseWholeBuffer();
    EXPECT_EQ(Do(disk, compare), IoStatus::kSuccess);
    compare.buffer.back() ^= std::byte{1};
    EXPECT_EQ(Do(disk, compare), IoStatus::kMiscompare);
    EXPECT_EQ(compare.miscompare_offset, blocks * 512 - 1);
  }
}

TEST_F(ConcatDiskTest, AnUnmapMayCoverSeveralMembers) {
  AddThree();
  BlockDevice& disk = Big();
  TestIo write(IoType::kWrite, 0, 76, 76 * 512, 1), unmap(IoType::kUnmap, 18, 44);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, unmap), IoStatus::kSuccess);
  EXPECT_EQ(At("disk").memory()[17 * 512], std::byte{1});
  EXPECT_EQ(At("disk").memory()[18 * 512], std::byte{0});
  EXPECT_EQ(At("other").memory()[20 * 512], std::byte{0});
  EXPECT_EQ(At("third").memory()[1 * 512], std::byte{0});
  EXPECT_EQ(At("third").memory()[2 * 512], std::byte{1});
}

TEST_F(ConcatDiskTest, AFlushVisitsAllMembersAndSaysWhichFailed) {
  AddThree(/*at_once=*/false);
  BlockDevice& disk = Big();
  TestIo flush(IoType::kFlush, 0, 0);
  Submit(disk, flush);
  for (const char* name : {"disk", "other"}) {
    world_.Turns(3);
    ASSERT_EQ(At(name).at(0).pending.size(), 1u) << name;
    EXPECT_EQ(flush.calls, 0);
    At(name).at(0).End();
  }
  world_.Turns(3);
  At("third").at(0).End(IoStatus::kMediumError);
  world_.Turns(3);
  EXPECT_EQ(flush.status, IoStatus::kMediumError);
}

TEST_F(ConcatDiskTest, ACompareAndWriteMayLieOnTwoMembers) {
  AddThree();
  BlockDevice& disk = Big();
  TestIo io(IoType::kCompareAndWrite, 19, 2, 1024, 9);
  std::vector<std::byte> expected(1024);
  const iovec part{expected.data(), expected.size()};
  io.compare_data = {&part, 1};
  EXPECT_EQ(Do(disk, io), IoStatus::kSuccess);
  EXPECT_EQ(At("disk").memory()[19 * 512], std::byte{9});
  EXPECT_EQ(At("other").memory()[511], std::byte{9});
  EXPECT_EQ(Do(disk, io), IoStatus::kMiscompare);
}

TEST_F(ConcatDiskTest, LendsWhatLiesOnOneMember) {
  AddThree();
  BlockDevice& disk = Big();
  BlockChannel& channel = *disk.channel(0);
  Loan one{.lba = 25, .blocks = 3}, two{.lba = 19, .blocks = 2};
  world_.On(0, [&] {
    ASSERT_TRUE(channel.TryLend(one));
    EXPECT_FALSE(channel.TryLend(two));
  });
  EXPECT_EQ(one.parts[0].iov_base, &At("other").memory()[5 * 512]);
  EXPECT_EQ(one.lba, 25u);
  world_.On(0, [&] { channel.Return(one); });
}

TEST_F(ConcatDiskTest, GoesWithAnyOfItsMembers) {
  AddThree();
  Big();
  Remove("other");
  EXPECT_FALSE(Has("Big"));
  EXPECT_EQ(At("disk").claim(), ClaimType::kNone);
}

TEST_F(ConcatDiskTest, AMemberThatIsMissingLeavesTheOthersFree) {
  AddThree();
  EXPECT_EQ(ErrnoOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 2}, {"disk", "no"})),
            ENODEV);
  EXPECT_EQ(ErrnoOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 2}, {"disk", "disk"})),
            EPERM);
  EXPECT_TRUE(At("disk").users().empty());
}

TEST_F(ConcatDiskTest, ParametersThatMakeNoSenseAreRefused) {
  AddThree();
  EXPECT_EQ(DetailOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 0})).field,
            "strip_size_kb");
  EXPECT_EQ(DetailOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 3})).field,
            "strip_size_kb");
  EXPECT_EQ(DetailOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 16})).field, "base_bdevs");
  EXPECT_EQ(DetailOf(Concat({.name = "", .uuid = "", .strip_size_kb = 4})).field, "name");
  Remove("other");
  ManualDisk::Options large = Member("other", 64);
  large.geometry.block_bytes = large.geometry.physical_block_bytes = 4096;
  AddBase(large);
  EXPECT_EQ(DetailOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 4})).value, "other");
  EXPECT_EQ(DetailOf(Concat({.name = "Big", .uuid = "", .strip_size_kb = 2}, {"other"})).field,
            "strip_size_kb");
}

}  // namespace
}  // namespace pollux
