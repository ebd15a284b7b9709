#include "cli/tool/job_run.h"

#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

// Ends by itself after so many turns; 0: never.
class CountedJob final : public PolledJob {
 public:
  explicit CountedJob(uint64_t turns) : turns_(turns) {}
  void Start() override { ++starts; }
  void Poll() override {
    ++polls;
    if (stopped_.load()) late_polls_.store(late_polls_.load() + 1);
  }
  bool over() const override {
    // What is in flight when it is stopped takes some turns more to end.
    return stopped_.load() ? late_polls_.load() >= 3 : turns_ != 0 && polls >= turns_;
  }
  void Stop() override { stopped_.store(true); }

  int starts = 0;
  uint64_t polls = 0;

 private:
  const uint64_t turns_;
  std::atomic<bool> stopped_{false};
  std::atomic<int> late_polls_{0};
};

class JobRunTest : public testing::Test, protected JobRun::Owner {
 protected:
  Status Run(std::vector<PolledJob*> jobs, bool interrupted = false) {
    JobRun run(options_, /*shows_progress=*/false, *this);
    run.Spread(jobs, cores_);
    const std::atomic<bool> interrupt{interrupted};
    Status status = run.Run(interrupt);
    seconds_ = run.seconds();
    interrupted_ = run.interrupted();
    return status;
  }
  void OnWarm() override { stages_ += "warm "; }
  void OnEnough() override { stages_ += "enough "; }
  void Tend() override {}
  void ShowProgress(double, double) override { stages_ += "progress "; }

  MeasuringOptions options_;
  std::vector<int> cores_;
  std::string stages_;
  double seconds_ = -1;
  bool interrupted_ = false;
};

TEST_F(JobRunTest, EndsWhenAllJobsHave) {
  CountedJob first(10), second(1000);
  ASSERT_TRUE(Run({&first, &second}).ok());
  EXPECT_EQ(first.starts, 1);
  EXPECT_GE(second.polls, 1000u);
  EXPECT_EQ(stages_, "enough ");
  EXPECT_GE(seconds_, 0);
  EXPECT_FALSE(interrupted_);
  EXPECT_EQ(cores_, (std::vector<int>{-1, -1}));
}

TEST_F(JobRunTest, StopsJobsWhenTheTimeIsUpAndWaitsForWhatIsInFlight) {
  options_.duration_ns = 1;
  options_.warmup_ns = 1;
  CountedJob endless(0);
  ASSERT_TRUE(Run({&endless}).ok());
  EXPECT_EQ(stages_, "warm enough ");
  EXPECT_TRUE(endless.over());
}

TEST_F(JobRunTest, AnInterruptEndsItBeforeItsTime) {
  options_.duration_ns = UINT64_MAX / 4;
  CountedJob endless(0);
  ASSERT_TRUE(Run({&endless}, /*interrupted=*/true).ok());
  EXPECT_TRUE(interrupted_);
  EXPECT_TRUE(endless.over());
}

TEST_F(JobRunTest, JobsAreSpreadOverTheCores) {
  options_.cores = {0};
  CountedJob first(1), second(1);
  ASSERT_TRUE(Run({&first, &second}).ok());
  EXPECT_EQ(cores_, (std::vector<int>{0, 0}));
}

TEST_F(JobRunTest, ACoreThatIsNotThereEndsTheRun) {
  options_.cores = {1000};
  CountedJob endless(0);
  const Status status = Run({&endless});
  EXPECT_NE(status.message().find("-c"), std::string::npos) << status;
  EXPECT_TRUE(endless.over());
}

}  // namespace
}  // namespace pollux::cli
