#include "drivers/stacked/stacked_disks.h"

#include <gtest/gtest.h>

#include <random>

#include "drivers/stacked/concat_disk.h"
#include "drivers/stacked/split_disk.h"
#include "tests/unit/drivers/stacked/stacked_world.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;
using testing_world::StackedTest;
using testing_world::TestIo;
using testing_world::TestUser;

class StackedDisksTest : public StackedTest {
 protected:
  // A user that goes on submitting as long as the disk takes it.
  struct Load final : IoRequest {
    explicit Load(BlockChannel& c) : channel(c) {
      blocks = 1;
      data = {&piece, 1};
    }
    void OnComplete() override {
      ++ended;
      if (status != IoStatus::kGone && left-- > 0) {
        lba = (lba + 7) % channel.blocks();
        return channel.Submit(*this);
      }
      running = false;
    }
    void Start() {
      running = true;
      channel.Submit(*this);
    }
    BlockChannel& channel;
    std::byte block[512] = {};
    iovec piece = {block, sizeof(block)};
    int left = 1000, ended = 0;
    bool running = false;
  };
};

TEST_F(StackedDisksTest, NobodyElseWritesToTheBase) {
  ManualDisk& base = AddBase();
  Stack("PT0", Passthru());
  EXPECT_EQ(base.claim(), ClaimType::kExclusiveWrite);
  TestUser user;
  EXPECT_EQ(ErrnoOf(base.Open(user, true)), EPERM);
  EXPECT_EQ(ErrnoOf(TryStack("PT1", Passthru("PT1"))), EPERM);
  EXPECT_TRUE(base.Open(user, false).ok());
  base.Close(user);
  EXPECT_TRUE(world_.Run(stacks_.Delete("PT0")).ok());
  EXPECT_EQ(base.claim(), ClaimType::kNone);
  EXPECT_TRUE(base.users().empty());
  EXPECT_TRUE(gone_.empty());
}

TEST_F(StackedDisksTest, ABaseThatSomebodyWritesToIsRefused) {
  ManualDisk& base = AddBase();
  TestUser user;
  ASSERT_TRUE(base.Open(user, true).ok());
  EXPECT_EQ(ErrnoOf(TryStack("PT0", Passthru())), EPERM);
  EXPECT_FALSE(Has("PT0"));
  EXPECT_EQ(base.users().size(), 1u);
  base.Close(user);
}

TEST_F(StackedDisksTest, AMissingBaseIsNamed) {
  const ErrorDetail detail = DetailOf(TryStack("PT0", Passthru()));
  EXPECT_EQ(detail.error_number, ENODEV);
  EXPECT_EQ(detail.field, "base_bdev_name");
  EXPECT_EQ(detail.value, "disk");
  EXPECT_EQ(ErrnoOf(world_.Run(stacks_.Delete("PT0"))), ENODEV);
}

TEST_F(StackedDisksTest, ANameThatIsTakenLeavesTheBaseFree) {
  ManualDisk& base = AddBase();
  EXPECT_EQ(ErrnoOf(TryStack("disk", Passthru("disk"))), EEXIST);
  EXPECT_TRUE(base.users().empty());
  EXPECT_EQ(base.state(), BlockDevice::State::kReady);
  Stack("PT0", Passthru());
  EXPECT_EQ(ErrnoOf(TryStack("PT0", Passthru())), EEXIST);
}

TEST_F(StackedDisksTest, WhenTheBaseGoesTheDiskGoesFirst) {
  AddBase();
  BlockDevice& disk = Stack("PT0", Passthru());
  TestUser user;
  ASSERT_TRUE(disk.Open(user, true).ok());
  user.on_removing = [this] { EXPECT_EQ(world_.devices.devices().size(), 2u); };
  Remove("disk");
  EXPECT_EQ(user.removing, 1);
  EXPECT_FALSE(Has("PT0"));
  EXPECT_EQ(gone_, std::vector<int>{ENODEV});
  AddBase();
  Stack("PT0", Passthru());
}

TEST_F(StackedDisksTest, TheBaseWaitsUntilTheUsersOfTheDiskLetGo) {
  AddBase();
  BlockDevice& disk = Stack("PT0", Passthru());
  Completion<bool> lets_go;
  TestUser user;
  user.lets_go = &lets_go;
  ASSERT_TRUE(disk.Open(user, true).ok());
  Task<Status> removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  world_.Turns(50);
  EXPECT_FALSE(removal.done());
  world_.OnControl([&] { lets_go.Set(true); });
  world_.Until([&] { return removal.done(); });
  EXPECT_TRUE(removal.TakeResult().ok());
  EXPECT_TRUE(world_.devices.devices().empty());
}

TEST_F(StackedDisksTest, ATowerGoesFromTheTop) {
  AddBase();
  Stack("PT0", Passthru("PT0"));
  Stack("PT1", Passthru("PT1"), "PT0");
  BlockDevice& top = Stack("PT2", Passthru("PT2"), "PT1");
  TestIo write(IoType::kWrite, 0, 1, 512, 7);
  EXPECT_EQ(Do(top, write), IoStatus::kSuccess);
  Remove("disk");
  EXPECT_TRUE(world_.devices.devices().empty());
  EXPECT_EQ(gone_.size(), 3u);
}

TEST_F(StackedDisksTest, AConcatenationOfTwoPartsOfOneDiskGoesOnce) {
  AddBase();
  StackedDisks::Stack split{.name = "split",
                            .title = "a split",
                            .bases = {"disk"},
                            .make = [](const std::vector<BlockDevice*>& bases) -> Made {
                              return MakeSplitDisks({.split_count = 2}, *bases.front());
                            }};
  ASSERT_TRUE(world_.Run(stacks_.Create(std::move(split))).ok());
  EXPECT_EQ(stacks_.DisksOf("split"), (std::vector<std::string>{"diskp0", "diskp1"}));
  StackedDisks::Stack concat = StackOf("Big", Passthru());
  concat.bases = {"diskp1", "diskp0"};
  concat.make = [](const std::vector<BlockDevice*>& bases) -> Made {
    std::vector<std::unique_ptr<StackedDisk>> disks;
    disks.push_back(*MakeConcatDisk({.name = "Big", .uuid = "", .strip_size_kb = 4}, bases));
    return disks;
  };
  ASSERT_TRUE(world_.Run(stacks_.Create(std::move(concat))).ok());
  EXPECT_TRUE(Has("Big"));
  Remove("disk");
  EXPECT_EQ(gone_.size(), 1u);
}

TEST_F(StackedDisksTest, TheDiskFollowsTheSizeOfItsBase) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Stack("PT0", Passthru());
  TestUser user;
  ASSERT_TRUE(disk.Open(user, true).ok());
  EXPECT_TRUE(world_.Run(world_.devices.Resize(base, 512)).ok());
  world_.Until([&] { return disk.geometry().blocks == 512; });
  EXPECT_EQ(user.resized_to, 512u);
  TestIo behind(IoType::kRead, 512, 1, 512);
  EXPECT_EQ(Do(disk, behind), IoStatus::kOutOfRange);
  EXPECT_EQ(ErrnoOf(world_.Run(world_.devices.Resize(disk, 100))), ENOTSUP);
  EXPECT_TRUE(world_.Run(world_.devices.Resize(base, 1024)).ok());
  world_.Until([&] { return disk.geometry().blocks == 1024; });
  disk.Close(user);
}

TEST_F(StackedDisksTest, EverythingMayBeRemovedAtOnce) {
  AddBase();
  Stack("PT0", Passthru("PT0"));
  Stack("PT1", Passthru("PT1"), "PT0");
  std::vector<Task<Status>> removals;
  for (const char* name : {"PT0", "disk", "PT1"}) {
    removals.push_back(world_.devices.Unregister(name));
  }
  for (Task<Status>& removal : removals) world_.Begin(removal);
  world_.Until([&] {
    return std::all_of(removals.begin(), removals.end(), [](auto& r) { return r.done(); });
  });
  EXPECT_TRUE(world_.devices.devices().empty());
}

TEST_F(StackedDisksTest, DeletingWhatIsGoingEnds) {
  AddBase();
  Stack("PT0", Passthru());
  Task<Status> removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  EXPECT_TRUE(world_.Run(stacks_.Delete("PT0")).ok());
  EXPECT_TRUE(gone_.empty());
  world_.Until([&] { return removal.done(); });
}

TEST_F(StackedDisksTest, ABaseMayGoWhileADiskIsBeingMade) {
  for (int turns = 0; turns < 40; ++turns) {
    AddBase();
    Task<Status> creation = stacks_.Create(StackOf("PT0", Passthru()));
    world_.Begin(creation);
    world_.Turns(turns);
    Remove("disk");
    world_.Until([&] { return creation.done(); });
    const Status status = creation.TakeResult();
    EXPECT_TRUE(status.ok() || ErrnoOf(status) == ENODEV) << status;
    EXPECT_EQ(gone_.size(), status.ok() ? 1u : 0u);
    EXPECT_FALSE(Has("PT0"));
    EXPECT_FALSE(stacks_.Contains("PT0"));
    gone_.clear();
  }
}

// Removal at any moment of a load: each I/O ends exactly once, and nothing is left behind.
TEST_F(StackedDisksTest, ThousandRemovalsUnderLoadLoseNoIo) {
  std::mt19937 random(6);
  for (int round = 0; round < 1000; ++round) {
    ManualDisk::Options options = AnyBase();
    options.at_once = round % 2 == 0;
    options.abortable = round % 3 == 0;
    ManualDisk& base = AddBase(options);
    BlockDevice& disk = Stack("PT0", Passthru());
    TestUser user;
    ASSERT_TRUE(disk.Open(user, true).ok());
    std::vector<std::unique_ptr<Load>> loads;
    for (size_t i = 0; i < 6; ++i) {
      loads.push_back(std::make_unique<Load>(*disk.channel(i % 2)));
      world_.On(i % 2, [&] { loads.back()->Start(); });
    }
    const auto some_end = [&] {
      for (size_t i = 0; i < 2; ++i) {
        if (base.channel(i) != nullptr && !base.at(i).pending.empty() && random() % 2 == 0) {
          world_.On(i, [&] { base.at(i).End(); });
        }
      }
    };
    for (size_t turns = random() % 8; turns > 0; --turns) {
      some_end();
      world_.Turn();
    }
    Task<Status> removal = world_.devices.Unregister(random() % 2 == 0 ? "disk" : "PT0");
    world_.Begin(removal);
    for (size_t turns = random() % 8; turns > 0; --turns) world_.Turn();
    world_.Until([&] {
      EndAll();
      return removal.done() &&
             std::none_of(loads.begin(), loads.end(), [](auto& load) { return load->running; });
    });
    EXPECT_TRUE(removal.TakeResult().ok());
    EXPECT_FALSE(Has("PT0"));
    Remove("disk");
    for (const auto& load : loads) EXPECT_GT(load->ended, 0);
  }
}

}  // namespace
}  // namespace pollux
