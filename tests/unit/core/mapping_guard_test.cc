#include "core/mapping_guard.h"

#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <optional>
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

Result<MappingGuard> Guard(std::byte* begin, size_t bytes) {
  return MappingGuard::Protect(begin, bytes, MappingGuard::Cover::kOnesPage);
}

TEST(MappingGuardTest, WhatIsTakenAwayReadsAsAllOnes) {
  Registers registers;
  const Result<MappingGuard> guard = Guard(registers.begin, 4 * kPage);
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
  const Result<MappingGuard> guards[] = {Guard(first.begin, 4 * kPage),
                                         Guard(second.begin, 4 * kPage)};
  first.TakeAway();
  second.TakeAway();
  MmioWrite<uint32_t>(first.begin + kPage, 7);
  EXPECT_EQ(MmioRead<uint32_t>(first.begin + kPage + 4), 0xffffffffu);
  EXPECT_EQ(MmioRead<uint32_t>(second.begin + kPage), 0xffffffffu);  // A page of its own.
}

TEST(MappingGuardTest, ThreadsHitItTogether) {
  for (int round = 0; round < 50; ++round) {
    Registers registers;
    const Result<MappingGuard> guard = Guard(registers.begin, 4 * kPage);
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

TEST(MappingGuardTest, ThereAreAsManyAsAreNeeded) {
  constexpr size_t kMany = 5000;
  Registers registers;
  for (int round = 0; round < 2; ++round) {
    std::vector<MappingGuard> guards;
    for (size_t i = 0; i < kMany; ++i) {
      Result<MappingGuard> guard = Guard(registers.begin + (i % 4) * kPage, kPage);
      ASSERT_TRUE(guard.ok()) << i;
      guards.push_back(*std::move(guard));
    }
  }
  const Result<MappingGuard> guard = Guard(registers.begin, 4 * kPage);
  registers.TakeAway();
  EXPECT_EQ(MmioRead<uint32_t>(registers.begin), 0xffffffffu);
  EXPECT_TRUE(guard->tripped());
}

// --- Memory.

class LostMemoryTest : public testing::Test {
 protected:
  // `bytes` of a memfd, of which the first page holds sevens.
  void Map(size_t bytes, unsigned flags = 0) {
    bytes_ = bytes;
    file_ = UniqueFd(memfd_create("memory", MFD_CLOEXEC | flags));
    if (!file_.valid() || ftruncate(file_.get(), static_cast<off_t>(bytes)) != 0) return;
    void* const at =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_.get(), 0);
    if (at == MAP_FAILED) return;
    begin_ = static_cast<std::byte*>(at);
    Result<MappingGuard> guard =
        MappingGuard::Protect(begin_, bytes, MappingGuard::Cover::kZeros, bell_.get());
    ASSERT_TRUE(guard.ok()) << guard.status();
    guard_.emplace(*std::move(guard));
  }
  ~LostMemoryTest() override {
    guard_.reset();
    if (begin_ != nullptr) munmap(begin_, bytes_);
  }
  void Shorten(size_t to) { ASSERT_EQ(ftruncate(file_.get(), static_cast<off_t>(to)), 0); }
  volatile unsigned char& At(size_t offset) {
    return *reinterpret_cast<volatile unsigned char*>(begin_ + offset);
  }
  uint64_t Rings() {
    uint64_t count = 0;
    return read(bell_.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
  }

  size_t bytes_ = 0;
  UniqueFd file_, bell_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::byte* begin_ = nullptr;
  std::optional<MappingGuard> guard_;
};

TEST_F(LostMemoryTest, IsZerosAsAWhole) {
  Map(4 * kPage);
  At(0) = 7;
  Shorten(kPage);
  EXPECT_EQ(At(0), 7);
  EXPECT_EQ(Rings(), 0u);
  EXPECT_EQ(At(2 * kPage + 5), 0);
  EXPECT_TRUE(guard_->tripped());
  EXPECT_EQ(Rings(), 1u);
  EXPECT_EQ(At(0), 0);  // Also what was left of the file.
  At(3 * kPage) = 9;    // Goes nowhere, and hits nothing any more.
  EXPECT_EQ(Rings(), 0u);
  Shorten(4 * kPage);
  EXPECT_EQ(At(3 * kPage), 9);
}

TEST_F(LostMemoryTest, MayBeLongerThanAllMemory) {
  // As much as there are addresses for: under the thread sanitizer that is less than 2 TiB.
  for (size_t bytes = size_t{8} << 40; begin_ == nullptr && bytes >= size_t{64} << 30; bytes /= 2) {
    Map(bytes);
  }
  ASSERT_NE(begin_, nullptr);
  Shorten(0);
  EXPECT_EQ(At(bytes_ - 1), 0);
  EXPECT_EQ(At(0), 0);
}

TEST_F(LostMemoryTest, MayConsistOfHugePages) {
  constexpr size_t kHuge = 2 << 20;
  Map(2 * kHuge, MFD_HUGETLB | MFD_HUGE_2MB);
  if (begin_ == nullptr) GTEST_SKIP() << "this kernel has no huge pages of 2 MiB";
  // Nothing was reserved: it may be that already this finds none left.
  EXPECT_EQ(At(0), 0);
  Shorten(0);
  EXPECT_EQ(At(0), 0);
  EXPECT_EQ(At(2 * kHuge - 1), 0);
  EXPECT_TRUE(guard_->tripped());
}

TEST_F(LostMemoryTest, AGuardMovesWithItsOwner) {
  Map(kPage);
  std::optional<MappingGuard> other(std::move(*guard_));
  guard_ = std::move(other);
  Shorten(0);
  EXPECT_EQ(At(0), 0);
  EXPECT_TRUE(guard_->tripped());
}

TEST(MappingGuardTest, GuardsComeAndGoWhileThreadsHitTheirs) {
  std::atomic<bool> stop{false};
  std::thread others([&] {
    Registers registers;
    while (!stop.load()) {
      const Result<MappingGuard> first = Guard(registers.begin, kPage);
      const Result<MappingGuard> second =
          MappingGuard::Protect(registers.begin + kPage, 2 * kPage, MappingGuard::Cover::kZeros);
    }
  });
  for (size_t round = 0; round < 300; ++round) {
    Registers registers;
    const Result<MappingGuard> guard =
        MappingGuard::Protect(registers.begin, 4 * kPage, MappingGuard::Cover::kZeros);
    registers.TakeAway();
    EXPECT_EQ(MmioRead<uint32_t>(registers.begin + (round % 4) * kPage), 0u);
    EXPECT_TRUE(guard->tripped());
  }
  stop = true;
  others.join();
}

// --- What is not guarded. Each in a process of its own.

// By the signal; under a sanitizer, by its report of it.
bool Died(int status) { return WIFSIGNALED(status) || WEXITSTATUS(status) != 0; }

void HitUnguarded() {
  Registers guarded;
  Registers unguarded;
  Result<MappingGuard> guard = Guard(guarded.begin, 4 * kPage);
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
        { const Result<MappingGuard> guard = Guard(registers.begin, 4 * kPage); }
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
