// Connections that are lost, and come back or not.
#include "tests/unit/drivers/nvme/tcp_world.h"

namespace pollux::nvme {
namespace {

class TcpReconnectTest : public TcpWorld {
 protected:
  void Start() {
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    TakeQueue();
  }
  // I/O commands get no answer any more.
  void FallSilent() {
    peer_.on_command = [](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
      return connection.qid() > 0 && sqe.opc != admin::kFabrics;
    };
  }
  void Vanish() {
    peer_.CloseAll();
    peer_.StopListening();
  }
  void PassMs(uint64_t ms) {
    const uint64_t until = clock_.NowNs() + ms * kNsPerMs;
    while (clock_.NowNs() < until) Turn();
  }
};

TEST_F(TcpReconnectTest, ComesBackWithTheSameQueues) {
  Start();
  FallSilent();
  Ended lost;
  ASSERT_EQ(Read(lost, 4096), 0);
  Turns(5);
  peer_.CloseAll();
  peer_.on_command = nullptr;
  Await(lost);
  EXPECT_EQ(lost.status(), POLLUX_NVME_ABORTED_BY_HOST);
  PollUntil(POLLUX_NVME_STATE_READY);
  Ended read;
  ASSERT_EQ(Read(read, 4096), 0);
  Await(read);
  EXPECT_EQ(read.status(), 0);
}

TEST_F(TcpReconnectTest, TriesAgainUntilTheTargetIsBack) {
  options_.loss_timeout_ms = UINT32_MAX;
  options_.reconnect_delay_ms = 200;
  Start();
  Vanish();
  PollUntil(POLLUX_NVME_STATE_RESETTING);
  PassMs(60000);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  peer_.Listen();
  PollUntil(POLLUX_NVME_STATE_READY);
}

TEST_F(TcpReconnectTest, IsGoneWhenItWasLostForTooLong) {
  options_.loss_timeout_ms = 3000;
  options_.reconnect_delay_ms = 500;
  Start();
  Vanish();
  PollUntil(POLLUX_NVME_STATE_RESETTING);
  PassMs(2000);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  PassMs(2000);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_GONE);
  Ended read;
  EXPECT_EQ(Read(read, 4096), -ENXIO);
}

TEST_F(TcpReconnectTest, RefusesWhatIsSubmittedWhenItHasBeenLostForAWhile) {
  options_.loss_timeout_ms = UINT32_MAX;
  options_.fast_io_fail_ms = 1000;
  options_.reconnect_delay_ms = 100;
  Start();
  Vanish();
  PollUntil(POLLUX_NVME_STATE_RESETTING);
  Ended read;
  EXPECT_EQ(Read(read, 4096), -EAGAIN);
  PassMs(1200);
  EXPECT_EQ(Read(read, 4096), -ENXIO);
  peer_.Listen();
  PollUntil(POLLUX_NVME_STATE_READY);
  ASSERT_EQ(Read(read, 4096), 0);
  Await(read);
  EXPECT_EQ(read.status(), 0);
}

TEST_F(TcpReconnectTest, FailsAfterSoManyAttempts) {
  options_.reset_attempts_max = 2;
  options_.reconnect_delay_ms = 10;
  Start();
  Vanish();
  PollUntil(POLLUX_NVME_STATE_RESETTING);
  PollUntil(POLLUX_NVME_STATE_FAILED);
}

TEST_F(TcpReconnectTest, KeepsAlive) {
  options_.keep_alive_ms = 2000;
  Start();
  EXPECT_EQ(peer_.connect.kato, 0u);  // Of an I/O queue.
  PassMs(5000);
  EXPECT_GE(peer_.keep_alives, 4);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
}

TEST_F(TcpReconnectTest, GivesUpATargetThatDoesNotAnswerAKeepAlive) {
  options_.keep_alive_ms = 2000;
  Start();
  peer_.on_command = [](TcpPeer::Connection&, const SubmissionEntry&) { return true; };
  Ended lost;
  ASSERT_EQ(Read(lost, 4096), 0);
  PassMs(5000);
  EXPECT_EQ(lost.status(), POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_TRUE(Logged("keep alive"));
}

TEST_F(TcpReconnectTest, IsSettledAtOnceWhenTheTargetConfirms) {
  Start();
  FallSilent();
  Ended lost;
  ASSERT_EQ(Write(lost, 4096), 0);
  Turns(5);
  peer_.OfQueue(1)->Close();  // The admin queue lives on.
  Await(lost);
  EXPECT_TRUE(pollux_nvme_settled(controller_));
}

TEST_F(TcpReconnectTest, IsSettledOnlyWhenTheTargetMustHaveGivenUsUp) {
  options_.keep_alive_ms = 4000;
  Start();
  EXPECT_TRUE(pollux_nvme_settled(controller_));
  FallSilent();
  Ended lost;
  ASSERT_EQ(Write(lost, 4096), 0);
  Turns(5);
  peer_.CloseAll();
  Await(lost);
  EXPECT_FALSE(pollux_nvme_settled(controller_));
  peer_.on_command = nullptr;
  PassMs(3500);
  EXPECT_FALSE(pollux_nvme_settled(controller_));
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  PassMs(1500);
  EXPECT_TRUE(pollux_nvme_settled(controller_));
  EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
}

TEST_F(TcpReconnectTest, ResetsByRequest) {
  Start();
  ASSERT_EQ(pollux_nvme_reset(controller_), 0);
  PollUntil(POLLUX_NVME_STATE_READY);
  Ended read;
  ASSERT_EQ(Read(read, 4096), 0);
  Await(read);
  EXPECT_EQ(read.status(), 0);
  EXPECT_TRUE(pollux_nvme_settled(controller_));
}

TEST_F(TcpReconnectTest, TakesItsLeaveInOrder) {
  Start();
  Detach();
  EXPECT_EQ(peer_.shutdowns, 1);
  EXPECT_EQ(cc::kEn.Get(peer_.cc), 0u);
}

TEST_F(TcpReconnectTest, LeavesATargetThatEndsTheQueuesAsItShutsDown) {
  Start();
  peer_.on_command = [this](TcpPeer::Connection&, const SubmissionEntry& sqe) {
    const bool shn = sqe.opc == admin::kFabrics && sqe.nsid == fctype::kPropertySet &&
                     sqe.cdw11 == kCc.offset && cc::kShn.Get(sqe.cdw12) == 1;
    for (const int qid : {1, 2}) {
      if (shn) peer_.OfQueue(qid)->Close();
    }
    return false;
  };
  Detach();
  EXPECT_EQ(peer_.shutdowns, 1);
  EXPECT_FALSE(Logged("shutdown failed"));
}

TEST_F(TcpReconnectTest, LeavesATargetThatIsNotThereAnyMore) {
  Start();
  Vanish();
  Detach();
}

}  // namespace
}  // namespace pollux::nvme
