#include "service/watchdog.h"

#include <gtest/gtest.h>

#include "core/reactors.h"

namespace pollux::service {
namespace {

struct Told final : Watchdog::Observer {
  void OnStuck(const Loop& loop, const std::string& why) override {
    log += loop.name() + " stuck\n";
    last_why = why;
  }
  void OnTurnsAgain(const Loop& loop, const std::string&) override {
    log += loop.name() + " turns\n";
  }
  std::string log, last_why;
};

// Reactors whose turns the test takes, or does not.
class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest()
      : control_({.name = "control", .idle_after_ns = 0, .core = -1}, clock_, *MakeEpollWaiter()) {
    Reactors::Options options;
    options.cores = {0, 1};
    options.idle_after_ns = Loop::kNever;
    reactors_ = *Reactors::MakeStill(options, clock_);
    watchdog_ = std::make_unique<Watchdog>(control_, told_);
    for (const auto& reactor : *reactors_) watchdog_->Watch(*reactor);
    watchdog_->Start();
  }
  ~WatchdogTest() override { watchdog_->Stop(); }

  // Time goes on in small steps; the first `turning` reactors turn at each.
  void Run(uint64_t ns, size_t turning) {
    constexpr uint64_t kStepNs = 50 * kNsPerMs;
    for (uint64_t done = 0; done < ns; done += kStepNs) {
      clock_.Advance(kStepNs);
      for (size_t i = 0; i < turning; ++i) (*reactors_)[i].RunTurn();
      control_.RunTurn();
    }
  }

  ManualClock clock_;
  Loop control_;
  std::unique_ptr<Reactors> reactors_;
  Told told_;
  std::unique_ptr<Watchdog> watchdog_;
};

TEST_F(WatchdogTest, WhoTurnsIsNotNamed) {
  Run(10 * kNsPerSecond, 2);
  EXPECT_EQ(told_.log, "");
}

TEST_F(WatchdogTest, WhoDoesNotTurnForASecondIsNamedOnce) {
  Run(kNsPerSecond, 2);
  Run(900 * kNsPerMs, 1);
  EXPECT_EQ(told_.log, "");
  Run(600 * kNsPerMs, 1);
  EXPECT_EQ(told_.log, "reactor_1 stuck\n");
  EXPECT_NE(told_.last_why.find("has not turned for 1."), std::string::npos) << told_.last_why;
  Run(5 * kNsPerSecond, 1);
  EXPECT_EQ(told_.log, "reactor_1 stuck\n");
  EXPECT_EQ(watchdog_->StuckNs((*reactors_)[0]), 0u);
  EXPECT_GT(watchdog_->StuckNs((*reactors_)[1]), 6 * kNsPerSecond);
}

TEST_F(WatchdogTest, WhoTurnsAgainIsNamedOnceAndMayGetStuckAgain) {
  Run(3 * kNsPerSecond, 1);
  Run(3 * kNsPerSecond, 2);
  EXPECT_EQ(told_.log, "reactor_1 stuck\nreactor_1 turns\n");
  EXPECT_EQ(watchdog_->StuckNs((*reactors_)[1]), 0u);
  Run(3 * kNsPerSecond, 0);
  EXPECT_EQ(told_.log, "reactor_1 stuck\nreactor_1 turns\nreactor_0 stuck\nreactor_1 stuck\n");
}

// The machine was suspended, or the control loop was held up: that says nothing of the others.
TEST_F(WatchdogTest, WhoWasLateItselfNamesNobody) {
  Run(kNsPerSecond, 2);
  clock_.Advance(60 * kNsPerSecond);
  control_.RunTurn();
  EXPECT_EQ(told_.log, "");
  Run(kNsPerSecond, 2);
  EXPECT_EQ(told_.log, "");
}

}  // namespace
}  // namespace pollux::service
