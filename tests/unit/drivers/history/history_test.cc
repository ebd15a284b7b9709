// Every read is explained by what was written before and meanwhile: random I/O of all kinds over
// every disk and stack, by two reactors, against a model of every block's history.
//
//   POLLUX_HISTORY_OPERATIONS=10000000  so many I/Os per disk
//   POLLUX_HISTORY_SEED=7               what a failure names
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/unit/drivers/history/trial.h"

namespace pollux::history {
namespace {

constexpr uint64_t kOperationsDefault = 100'000, kOperationsOfThreadsDefault = 25'000;
constexpr uint64_t kSeedDefault = 1;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = getenv(name);
  return text == nullptr ? otherwise : strtoull(text, nullptr, 10);
}

class HistoryTest : public testing::TestWithParam<DiskKind> {
 protected:
  void Play(Stage::Reactors reactors, uint64_t operations) {
    Trial trial(GetParam(), reactors, FromEnvironment("POLLUX_HISTORY_SEED", kSeedDefault));
    if (!trial.possible()) GTEST_SKIP() << "this machine has not what it needs";
    const uint64_t wanted = FromEnvironment("POLLUX_HISTORY_OPERATIONS", operations);
    const std::string fault = trial.Run(wanted / GetParam().slowness);
    EXPECT_TRUE(fault.empty()) << fault;
    const Trial::Counts& counts = trial.counts();
    std::cout << absl::StrFormat("%u I/Os, %u removals, %u growths, %u changes of limits\n",
                                 counts.operations, counts.removals, counts.growths, counts.limits);
  }
};

TEST_P(HistoryTest, ExplainsEveryRead) { Play(Stage::Reactors::kStill, kOperationsDefault); }

// What waits for a buffer is aborted, reset and removed as well.
TEST_P(HistoryTest, ExplainsEveryReadWhenPoolsHaveOneElement) {
  setenv("POLLUX_POOL_SIZE", "1", 1);
  Play(Stage::Reactors::kStill, kOperationsDefault / 2);
  unsetenv("POLLUX_POOL_SIZE");
}

TEST_P(HistoryTest, ExplainsEveryReadOfTwoThreads) {
  if (!GetParam().with_threads) GTEST_SKIP() << "it is made for one thread";
  Play(Stage::Reactors::kThreads, kOperationsOfThreadsDefault);
}

INSTANTIATE_TEST_SUITE_P(Disks, HistoryTest, testing::ValuesIn(DiskKinds()),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace pollux::history
