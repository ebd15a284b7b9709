// Shadow doorbells of a queue pair. Base annex B.5.
#include "tests/unit/drivers/nvme/queue_pair_fixture.h"

namespace pollux::nvme {
namespace {

class ShadowTest : public QueuePairTest {
 protected:
  ShadowTest() {
    QueuePair::Parts parts = device_.Parts(memory_.map());
    parts.shadow_sq = &shadow(0);
    parts.shadow_cq = &shadow(1);
    parts.event_sq = &shadow(2);
    parts.event_cq = &shadow(3);
    Make(parts);
  }
  Le32& shadow(size_t n) { return device_.shadows()[n]; }
};

TEST_F(ShadowTest, RingsOnlyWhenTheEventIndexIsPassed) {
  QueueRecorder commands[3];
  Submit(commands[0]);
  queue_->Ring();
  EXPECT_EQ(shadow(0), 1u);
  EXPECT_EQ(device_.sq_doorbell(), 1u);
  shadow(2) = 2;  // The device looks by itself until then.
  Submit(commands[1]);
  queue_->Ring();
  EXPECT_EQ(shadow(0), 2u);
  EXPECT_EQ(device_.sq_doorbell(), 1u);
  Submit(commands[2]);
  queue_->Ring();
  EXPECT_EQ(shadow(0), 3u);
  EXPECT_EQ(device_.sq_doorbell(), 3u);
}

TEST_F(ShadowTest, AnIndexThatWasPassedAsksForNothing) {
  QueueRecorder first, second;
  Submit(first);
  queue_->Ring();
  Submit(second);
  queue_->Ring();  // From 1 to 2, and the index is still 0.
  EXPECT_EQ(shadow(0), 2u);
  EXPECT_EQ(device_.sq_doorbell(), 1u);
}

TEST_F(ShadowTest, RingsAcrossTheEndOfTheRing) {
  // The device asks to be told of everything: its index is always the last tail that it saw.
  for (int i = 0; i < 100; ++i) {
    QueueRecorder command;
    Submit(command);
    queue_->Ring();
    ASSERT_EQ(device_.Step(), 1u) << i;
    shadow(2) = device_.sq_doorbell();
    shadow(3) = shadow(1);
    device_.Complete(0);
    ASSERT_EQ(queue_->Poll(0), 1);
  }
}

TEST_F(ShadowTest, AreEmptyAfterADrain) {
  QueueRecorder command;
  Submit(command);
  queue_->Ring();
  shadow(2) = 5;
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(shadow(i), 0u) << i;
}

}  // namespace
}  // namespace pollux::nvme
