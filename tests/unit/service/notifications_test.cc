#include "service/notifications.h"

#include <gtest/gtest.h>

#include "core/clock.h"

namespace pollux::service {
namespace {

class NotificationsTest : public testing::Test {
 protected:
  void Unregister(int count) {
    DeviceRegistry::Observer& observer = notifications_;
    for (int i = 0; i < count; ++i) observer.OnUnregistered("disk" + std::to_string(i));
  }
  const RealClock clock_;
  Loop loop_{{.name = "control"}, clock_, *MakeEpollWaiter()};
  Notifications notifications_{loop_};
};

TEST_F(NotificationsTest, NumbersEventsFromZero) {
  Unregister(3);
  const auto events = notifications_.From(1, 10);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].id, 1u);
  EXPECT_EQ(events[0].type, "bdev_unregister");
  EXPECT_EQ(events[0].name, "disk1");
}

TEST_F(NotificationsTest, GivesAtMostWhatWasAskedFor) {
  Unregister(5);
  EXPECT_EQ(notifications_.From(0, 2).size(), 2u);
  EXPECT_EQ(notifications_.From(0, 0).size(), 0u);
}

TEST_F(NotificationsTest, MovesAnIdThatIsTooOldToTheOldestKept) {
  Unregister(static_cast<int>(Notifications::kCapacity) + 10);
  const auto events = notifications_.From(0, UINT64_MAX);
  ASSERT_EQ(events.size(), Notifications::kCapacity);
  EXPECT_EQ(events[0].id, 10u);
}

TEST_F(NotificationsTest, HasNothingFromTheFuture) {
  Unregister(1);
  EXPECT_TRUE(notifications_.From(1, 10).empty());
  EXPECT_TRUE(notifications_.From(UINT64_MAX, 10).empty());
}

}  // namespace
}  // namespace pollux::service
