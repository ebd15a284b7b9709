#include "core/mailbox.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace pollux {
namespace {

struct Numbered final : Message {
  void Run() override {}
  int producer = 0;
  int number = 0;
};

TEST(MailboxTest, GivesOutInTheOrderOfArrival) {
  Mailbox box(8);
  std::vector<Numbered> messages(8);
  for (auto& m : messages) EXPECT_TRUE(box.TryPush(&m));
  for (auto& m : messages) EXPECT_EQ(box.TryPop(), &m);
  EXPECT_EQ(box.TryPop(), nullptr);
}

TEST(MailboxTest, AFullRingTakesNothing) {
  Mailbox box(4);
  std::vector<Numbered> messages(5);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(box.TryPush(&messages[i]));
  EXPECT_FALSE(box.TryPush(&messages[4]));
  EXPECT_EQ(box.TryPop(), &messages[0]);
  EXPECT_TRUE(box.TryPush(&messages[4]));
  EXPECT_FALSE(box.TryPush(&messages[0]));
}

TEST(MailboxTest, GoesRoundManyTimes) {
  Mailbox box(2);
  std::vector<Numbered> messages(1000);
  for (auto& m : messages) {
    EXPECT_TRUE(box.empty());
    ASSERT_TRUE(box.TryPush(&m));
    EXPECT_FALSE(box.empty());
    ASSERT_EQ(box.TryPop(), &m);
  }
}

// A ring so small that producers collide, fill it and wrap it all the time.
TEST(MailboxTest, ManyProducersLoseNothingAndKeepTheirOrder) {
  constexpr int kProducers = 4;
  constexpr int kEach = 30'000;
  Mailbox box(16);
  std::vector<std::vector<Numbered>> messages;
  for (int p = 0; p < kProducers; ++p) messages.emplace_back(kEach);
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) {
        Numbered& m = messages[static_cast<size_t>(p)][static_cast<size_t>(i)];
        m.producer = p;
        m.number = i;
        while (!box.TryPush(&m)) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(kProducers, 0);
  for (int received = 0; received < kProducers * kEach;) {
    const auto* m = static_cast<const Numbered*>(box.TryPop());
    if (m == nullptr) {
      std::this_thread::yield();
      continue;
    }
    ++received;
    ASSERT_EQ(m->number, next[static_cast<size_t>(m->producer)]++);
  }
  for (auto& producer : producers) producer.join();
  EXPECT_TRUE(box.empty());
}

TEST(MailboxDeathTest, ACapacityThatIsNoPowerOfTwoIsCaught) { EXPECT_DEATH(Mailbox(12), "CHECK"); }

}  // namespace
}  // namespace pollux
