#include "core/log_limiter.h"

#include "tests/unit/core/loop_fixture.h"

namespace pollux {
namespace {

class LogLimiterTest : public LoopFixture {
 protected:
  LogLimiterTest() { EnableLogTimestamps(false); }
  ~LogLimiterTest() override {
    SetLogLevel(LogLevel::kNotice);
    EnableLogTimestamps(true);
  }
  template <typename Step>
  static std::string Logged(Step step) {
    testing::internal::CaptureStderr();
    step();
    return testing::internal::GetCapturedStderr();
  }
  std::string Notices(int count) {
    return Logged([&] {
      for (int i = 0; i < count; ++i) limiter_.Notice("no. %d", i);
    });
  }
  // What the loop writes by itself when so much time has passed.
  std::string After(uint64_t ns) {
    clock_.Advance(ns);
    return Logged([&] { loop_.RunTurn(); });
  }
  static size_t Lines(const std::string& text) {
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  LogLimiter limiter_{loop_, "iscsi", "logins"};
};

TEST_F(LogLimiterTest, WritesTheFirstLinesOfASecond) {
  const std::string text = Notices(1000);
  EXPECT_EQ(Lines(text), LogLimiter::kLinesMax);
  EXPECT_EQ(text.substr(0, text.find('\n')), "NOTICE iscsi: no. 0");
}

TEST_F(LogLimiterTest, TellsTheCountWhenTheSecondIsOver) {
  Notices(1000);
  EXPECT_EQ(After(kNsPerSecond - 1), "");
  EXPECT_EQ(After(1), "NOTICE iscsi: 990 more lines about logins were left out\n");
  EXPECT_EQ(After(kNsPerSecond), "");
}

TEST_F(LogLimiterTest, TheNextSecondHasLinesOfItsOwn) {
  Notices(1000);
  After(kNsPerSecond);
  EXPECT_EQ(Lines(Notices(7)), 7u);
  EXPECT_EQ(Lines(Notices(7)), 3u);
}

TEST_F(LogLimiterTest, TheCountComesBeforeALineOfTheNextSecond) {
  Notices(11);
  clock_.Advance(kNsPerSecond);  // The loop was busy elsewhere, and the timer is late.
  EXPECT_EQ(Notices(1),
            "NOTICE iscsi: 1 more lines about logins were left out\nNOTICE iscsi: no. 0\n");
  EXPECT_EQ(After(kNsPerSecond), "");
}

TEST_F(LogLimiterTest, NothingIsSaidWhereNothingWasLeftOut) {
  EXPECT_EQ(Lines(Notices(10)), 10u);
  EXPECT_EQ(loop_.timer_count(), 0u);
  EXPECT_EQ(After(kNsPerSecond), "");
}

TEST_F(LogLimiterTest, TheCountIsAsGraveAsWhatItCounts) {
  SetLogLevel(LogLevel::kInfo);
  Notices(10);
  limiter_.Info("not so grave");
  limiter_.Warning("grave");
  limiter_.Notice("less so");
  EXPECT_EQ(After(kNsPerSecond), "WARNING iscsi: 3 more lines about logins were left out\n");
}

TEST_F(LogLimiterTest, LinesBelowTheLevelAreNotCounted) {
  EXPECT_EQ(Logged([&] {
              for (int i = 0; i < 1000; ++i) limiter_.Info("quiet");
            }),
            "");
  EXPECT_EQ(Lines(Notices(10)), 10u);
  EXPECT_EQ(After(kNsPerSecond), "");
}

TEST_F(LogLimiterTest, ItsEndTellsTheCount) {
  EXPECT_EQ(Logged([&] {
              LogLimiter limiter(loop_, "rpc", "callers");
              for (int i = 0; i < 12; ++i) limiter.Warning("x");
            }).substr(10 * std::string("WARNING rpc: x\n").size()),
            "WARNING rpc: 2 more lines about callers were left out\n");
  EXPECT_EQ(loop_.timer_count(), 0u);
}

}  // namespace
}  // namespace pollux
