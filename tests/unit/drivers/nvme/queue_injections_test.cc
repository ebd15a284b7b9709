// Errors that are injected into a queue pair.
#include "drivers/nvme/injections.h"
#include "tests/unit/drivers/nvme/queue_pair_fixture.h"

namespace pollux::nvme {
namespace {

class InjectionTest : public QueuePairTest {
 protected:
  void Inject(pollux_nvme_injection injection) {
    injections_ = injections_->With(injection);
    queue_->SetInjections(injections_);
    queue_->Poll(0);
  }
  std::shared_ptr<const Injections> injections_ = std::make_shared<Injections>();
};

TEST_F(InjectionTest, FailsACommandThatTheDeviceNeverSees) {
  Inject({.opc = io::kRead, .do_not_submit = true, .count = 1, .status = 0x281});
  QueueRecorder read, flush, next;
  Submit(read, io::kRead);
  Submit(flush, io::kFlush);
  Submit(next, io::kRead);
  EXPECT_EQ(read.calls, 0);
  EXPECT_EQ(Fetch(), 2u);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(read.last.status, 0x281);
  device_.CompleteAll();
  EXPECT_EQ(queue_->Poll(0), 2);
  EXPECT_EQ(next.last.status, 0);
  EXPECT_EQ(Statistics().submitted, 3u);
  EXPECT_EQ(Statistics().completed, 3u);
  EXPECT_EQ(Statistics().failed, 1u);
}

TEST_F(InjectionTest, ReplacesTheDevicesStatus) {
  Inject({.opc = io::kWrite, .count = 0, .status = 0x280});
  for (int i = 0; i < 20; ++i) {
    QueueRecorder write;
    Submit(write, io::kWrite);
    EXPECT_EQ(Fetch(), 1u);
    device_.Complete(0, 0, 9);
    EXPECT_EQ(queue_->Poll(0), 1);
    EXPECT_EQ(write.last.status, 0x280);
    EXPECT_EQ(write.last.dw0, 9u);
  }
}

TEST_F(InjectionTest, IsNotAboutTheAdminQueue) {
  Inject({.admin = true, .opc = io::kWrite, .do_not_submit = true, .status = 0x280});
  QueueRecorder write;
  Submit(write, io::kWrite);
  EXPECT_EQ(Fetch(), 1u);
}

TEST_F(InjectionTest, HoldsACommandBack) {
  Inject({.opc = io::kRead, .timeout_us = 3600ull * 1000 * 1000, .count = 1});
  QueueRecorder read;
  Submit(read, io::kRead);
  Fetch();
  const uint16_t cid = device_.held(0).cid;
  device_.Complete(0);
  EXPECT_EQ(queue_->Poll(0), 0);
  device_.Post(kId, cid);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(strays(), 1u);
  EXPECT_EQ(queue_->in_flight(), 1u);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(read.last.status, POLLUX_NVME_ABORTED_BY_HOST);
}

TEST_F(InjectionTest, EndsWhenItIsRemoved) {
  Inject({.opc = io::kRead, .do_not_submit = true, .status = 0x281});
  EXPECT_TRUE(injections_->Has(false, io::kRead));
  queue_->SetInjections(injections_->Without(false, io::kRead));
  queue_->Poll(0);
  QueueRecorder read;
  Submit(read, io::kRead);
  EXPECT_EQ(Fetch(), 1u);
}

TEST_F(InjectionTest, WhatFailsAndIsSubmittedAgainDoesNotHoldAPoll) {
  Inject({.opc = io::kRead, .do_not_submit = true, .status = 0x281});
  QueueRecorder read;
  read.then = [&] { Submit(read, io::kRead); };
  Submit(read, io::kRead);
  const int ended = queue_->Poll(0);
  EXPECT_GE(ended, 1);
  EXPECT_LE(ended, int{kDepth});
}

}  // namespace
}  // namespace pollux::nvme
