#include "cli/tool/pass.h"

#include <gtest/gtest.h>

#include "core/loop_task.h"

namespace pollux::cli {
namespace {

class PassTest : public testing::Test, protected Pass::Owner {
 protected:
  bool Await(uint64_t ns) {
    Pass pass(clock_, /*shows_progress=*/false, interrupt_, *this);
    return RunOnLoop(loop_, pass.Await(ns));
  }
  bool IsOver() const override { return ++looks_ > looks_until_over_; }
  void ShowProgress(double, double) override {}

  const RealClock clock_;
  Loop loop_{{.name = "test"}, clock_, *MakeEpollWaiter()};
  std::atomic<bool> interrupt_{false};
  mutable int looks_ = 0;
  int looks_until_over_ = 1 << 30;
};

TEST_F(PassTest, LastsSoLong) {
  const uint64_t begin = clock_.NowNs();
  EXPECT_TRUE(Await(kNsPerMs));
  EXPECT_GE(clock_.NowNs() - begin, kNsPerMs);
}

TEST_F(PassTest, EndsWhenThereIsNothingLeftToDo) {
  looks_until_over_ = 2;
  EXPECT_TRUE(Await(Pass::kUnbounded));
  EXPECT_EQ(looks_, 3);
}

TEST_F(PassTest, SaysThatItWasInterrupted) {
  interrupt_ = true;
  EXPECT_FALSE(Await(Pass::kUnbounded));
  EXPECT_EQ(looks_, 0);
}

}  // namespace
}  // namespace pollux::cli
