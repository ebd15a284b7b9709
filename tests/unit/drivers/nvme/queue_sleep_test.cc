// Sleeping until a queue pair has something to do.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "core/unique_fd.h"
#include "drivers/nvme/event_set.h"
#include "tests/unit/drivers/nvme/queue_pair_fixture.h"

namespace pollux::nvme {
namespace {

class SleepTest : public QueuePairTest {
 protected:
  SleepTest() {
    EXPECT_TRUE(HearRings(set_.get(), interrupt_.get()).ok());
    QueuePair::Parts parts = device_.Parts(memory_.map());
    parts.event_fd = set_.get();
    Make(parts);
  }
  void Interrupt() { eventfd_write(interrupt_.get(), 1); }
  bool Awake() const {
    pollfd state{.fd = set_.get(), .events = POLLIN, .revents = 0};
    return poll(&state, 1, 0) == 1;
  }

  UniqueFd set_ = *MakeEventSet();
  UniqueFd interrupt_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

TEST_F(SleepTest, IsNotOverACompletion) {
  Interrupt();
  QueueRecorder command;
  Submit(command);
  EXPECT_TRUE(Awake());
  EXPECT_TRUE(queue_->PrepareSleep());
  EXPECT_FALSE(Awake()) << "the descriptor was not cleared";
  device_.Step();
  device_.Complete(0);
  EXPECT_FALSE(queue_->PrepareSleep());
  queue_->Poll(0);
  EXPECT_TRUE(queue_->PrepareSleep());
  EXPECT_EQ(device_.cq_doorbell(), 1u) << "the device sees an entry that was not taken";
}

TEST_F(SleepTest, EndsByADrain) {
  ASSERT_TRUE(queue_->PrepareSleep());
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_TRUE(Awake());
  EXPECT_FALSE(queue_->PrepareSleep());
  queue_->Poll(0);
  EXPECT_TRUE(queue_->PrepareSleep());
}

TEST_F(SleepTest, EndsByEachInterrupt) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(queue_->PrepareSleep());
    EXPECT_FALSE(Awake());
    Interrupt();
    EXPECT_TRUE(Awake());
  }
}

// A device at a socket has the same eventfd, and is not to be trusted with it.
TEST_F(SleepTest, CannotBeMadeForEverByTheDevice) {
  fcntl(interrupt_.get(), F_SETFL, 0);  // From now on reads and writes of it wait.
  Interrupt();
  EXPECT_TRUE(Awake());
  eventfd_t taken = 0;
  ASSERT_EQ(eventfd_read(interrupt_.get(), &taken), 0);  // It takes back what it gave.
  EXPECT_TRUE(queue_->PrepareSleep());
  EXPECT_FALSE(Awake());

  ASSERT_EQ(eventfd_write(interrupt_.get(), UINT64_MAX - 1), 0);  // And leaves no room.
  EXPECT_TRUE(Awake());
  EXPECT_TRUE(queue_->PrepareSleep());
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_TRUE(Awake());
}

}  // namespace
}  // namespace pollux::nvme
