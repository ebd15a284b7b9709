#include "core/mapping_guard.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <utility>
#include <vector>

#include "core/mmio.h"
#include "core/unique_fd.h"

namespace pollux {
namespace {

constexpr size_t kPage = 4096;

// A mapping that can be taken away, by cutting the file behind it.
class Registers {
 public:
  Registers() {
    if (ftruncate(fd_.get(), 4 * kPage) != 0) abort();
    void* const at = mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (at == MAP_FAILED) abort();
    begin = static_cast<std::byte*>(at);
  }
  ~Registers() { munmap(begin, 4 * kPage); }
  void TakeAway() {
    if (ftruncate(fd_.get(), 0) != 0) abort();
  }

  std::byte* begin;

 private:
  UniqueFd fd_{memfd_create("registers", MFD_CLOEXEC)};
};

TEST(MappingGuardTest, WhatIsTakenAwayReadsAsAllOnes) {
  Registers registers;
  const Result<MappingGuard> guard = MappingGuard::Protect(registers.begin, 4 * kPage);
  ASSERT_TRUE(guard.ok());
  MmioWrite<uint32_t>(registers.begin, 7);
  EXPECT_FALSE(guard->tripped());
  registers.TakeAway();
  for (size_t page = 0; page < 4; ++page) {
    EXPECT_EQ(MmioRead<uint64_t>(registers.begin + page * kPage + 0x18), UINT64_MAX);
    EXPECT_EQ(MmioRead<uint32_t>(registers.begin + (page + 1) * kPage - 4), 0xffffffffu);
  }
  EXPECT_TRUE(guard->tripped());
}

TEST(MappingGuardTest, AWriteEndsNowhere) {
  Registers first;
  Registers second;
  const Result<MappingGuard> guards[] = {MappingGuard::Protect(first.begin, 4 * kPage),
                                         MappingGuard::Protect(second.begin, 4 * kPage)};
  first.TakeAway();
  second.TakeAway();
  MmioWrite<uint32_t>(first.begin + kPage, 7);
  EXPECT_EQ(MmioRead<uint32_t>(first.begin + kPage + 4), 0xffffffffu);
  EXPECT_EQ(MmioRead<uint32_t>(second.begin + kPage), 0xffffffffu);  // A page of its own.
}

TEST(MappingGuardTest, ThreadsHitItTogether) {
  for (int round = 0; round < 50; ++round) {
    Registers registers;
    const Result<MappingGuard> guard = MappingGuard::Protect(registers.begin, 4 * kPage);
    registers.TakeAway();
    std::atomic<int> wrong{0};
    auto access = [&](size_t first) {
      for (size_t at = first; at < 4 * kPage; at += 512) {
        MmioWrite<uint32_t>(registers.begin + at, 1);
        if (MmioRead<uint32_t>(registers.begin + at + 8) != 0xffffffff) wrong.fetch_add(1);
      }
    };
    std::thread threads[] = {std::thread(access, 0), std::thread(access, 64),
                             std::thread(access, 128)};
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong.load(), 0);
  }
}

TEST(MappingGuardTest, PlacesAreUsedAgain) {
  Registers registers;
  for (int round = 0; round < 2; ++round) {
    std::vector<MappingGuard> guards;
    for (size_t i = 0; i < MappingGuard::kGuardsMax; ++i) {
      Result<MappingGuard> guard = MappingGuard::Protect(registers.begin, kPage);
      ASSERT_TRUE(guard.ok()) << i;
      guards.push_back(*std::move(guard));
    }
    EXPECT_EQ(ErrnoOf(MappingGuard::Protect(registers.begin, kPage).status()), ENOSPC);
  }
}

// --- What is not guarded. Each in a process of its own.

// By the signal; under a sanitizer, by its report of it.
bool Died(int status) { return WIFSIGNALED(status) || WEXITSTATUS(status) != 0; }

void HitUnguarded() {
  Registers guarded;
  Registers unguarded;
  Result<MappingGuard> guard = MappingGuard::Protect(guarded.begin, 4 * kPage);
  unguarded.TakeAway();
  MmioRead<uint32_t>(unguarded.begin);
}

TEST(MappingGuardDeathTest, AnUnguardedPageKillsAsEver) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(HitUnguarded(), Died, "");
}

TEST(MappingGuardDeathTest, AGuardThatEndedGuardsNothing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Registers registers;
        { const Result<MappingGuard> guard = MappingGuard::Protect(registers.begin, 4 * kPage); }
        registers.TakeAway();
        MmioRead<uint32_t>(registers.begin);
      },
      Died, "");
}

TEST(MappingGuardDeathTest, AHandlerThatWasThereBeforeStillHears) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        struct sigaction action {};
        action.sa_handler = [](int) { _exit(42); };
        sigaction(SIGBUS, &action, nullptr);
        HitUnguarded();
      },
      testing::ExitedWithCode(42), "");
}

}  // namespace
}  // namespace pollux
