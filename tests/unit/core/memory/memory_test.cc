#include "core/memory/memory.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/memory/page_supply.h"
#include "core/memory/reactor_buffers.h"

namespace pollux {
namespace {

constexpr size_t kMib = 1 << 20;

// Folders as the kernel shows them.
class PageSupplyTest : public testing::Test {
 protected:
  PageSupplyTest() { root_ = testing::TempDir() + "page_supply_" + std::to_string(getpid()); }
  ~PageSupplyTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void WriteHugepages(int node, size_t kib, size_t count, size_t free) {
    const std::string folder =
        absl::StrFormat("/sys/devices/system/node/node%d/hugepages/hugepages-%ukB/", node, kib);
    Write(folder + "nr_hugepages", std::to_string(count) + "\n");
    Write(folder + "free_hugepages", std::to_string(free) + "\n");
  }
  void WriteMeminfo(size_t total_kib, size_t available_kib) {
    Write("/proc/meminfo",
          absl::StrFormat("MemTotal:   %u kB\nMemFree:  1 kB\nMemAvailable: %u kB\nHugePages_Free: "
                          "0\nHugepagesize: 2048 kB\n",
                          total_kib, available_kib));
  }
  Result<bool> Choose(Hugepages wish, size_t wanted) {
    return ChooseHugepages(wish, wanted, ReadPageSupply(root_));
  }

  std::string root_;
};

TEST_F(PageSupplyTest, ReadsNodesAndSizes) {
  WriteMeminfo(8000, 5000);
  WriteHugepages(1, 2048, 10, 4);
  WriteHugepages(0, 2048, 10, 3);
  WriteHugepages(0, 1048576, 0, 0);  // Nobody reserved any.
  const PageSupply supply = ReadPageSupply(root_);
  ASSERT_EQ(supply.huge.size(), 2u);
  EXPECT_EQ(supply.huge[0].node, 0);
  EXPECT_EQ(supply.huge[0].free_bytes, 3 * 2 * kMib);
  EXPECT_EQ(supply.huge[1].node, 1);
  EXPECT_EQ(supply.ordinary.free_bytes, 5000u * 1024);
  EXPECT_EQ(supply.ordinary_total, 8000u * 1024);
}

TEST_F(PageSupplyTest, AutoTakesHugepagesWhenTheyCoverTheNeed) {
  WriteMeminfo(1 << 20, 1 << 20);
  WriteHugepages(0, 2048, 10, 10);
  EXPECT_TRUE(*Choose(Hugepages::kAuto, 20 * kMib));
  EXPECT_FALSE(*Choose(Hugepages::kAuto, 20 * kMib + 1));
  EXPECT_FALSE(*Choose(Hugepages::kOff, 20 * kMib));
}

TEST_F(PageSupplyTest, MissingHugepagesAreSaidInOneLine) {
  WriteMeminfo(1 << 20, 1 << 20);
  WriteHugepages(0, 2048, 10, 3);
  WriteHugepages(1, 2048, 10, 1);
  const Status status = Choose(Hugepages::kOn, 64 * kMib).status();
  EXPECT_EQ(ErrnoOf(status), ENOMEM);
  EXPECT_EQ(status.message(),
            "not enough hugepages: node 0, 2048 KiB pages: wanted 64 MiB, free 6 MiB; node 1, 2048 "
            "KiB pages: wanted 64 MiB, free 2 MiB");
}

TEST_F(PageSupplyTest, MissingOrdinaryMemoryIsSaidInOneLine) {
  WriteMeminfo(1 << 20, 10 << 10);
  EXPECT_EQ(Choose(Hugepages::kAuto, 64 * kMib).status().message(),
            "not enough memory: node 0, 4 KiB pages: wanted 64 MiB, free 10 MiB");
}

TEST_F(PageSupplyTest, AMachineThatShowsNothingHasNothing) {
  const PageSupply supply = ReadPageSupply(root_);
  EXPECT_TRUE(supply.huge.empty());
  EXPECT_EQ(supply.ordinary.free_bytes, 0u);
  EXPECT_EQ(Choose(Hugepages::kOn, 64 * kMib).status().message(),
            "not enough hugepages: node 0, 2048 KiB pages: wanted 64 MiB, none reserved");
}

TEST_F(PageSupplyTest, DamagedFilesCountAsNothing) {
  Write("/proc/meminfo", "MemTotal: many kB\n");
  Write("/sys/devices/system/node/nodeX/hugepages/hugepages-2048kB/nr_hugepages", "1");
  Write("/sys/devices/system/node/node0/hugepages/hugepages-kB/nr_hugepages", "1");
  Write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "");
  const PageSupply supply = ReadPageSupply(root_);
  EXPECT_TRUE(supply.huge.empty());
  EXPECT_EQ(supply.ordinary_total, 0u);
}

// EAL starts once in a process, so each case has one of its own.
class MemoryDeathTest : public testing::Test {
 protected:
  MemoryDeathTest() { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }

  Memory::Options Options(size_t bytes) {
    return {.hugepages = Hugepages::kOff, .needs = {{.consumer = "test: buffers", .bytes = bytes}}};
  }
  [[noreturn]] static void Fail(const std::string& text) {
    fprintf(stderr, "%s\n", text.c_str());
    _exit(1);
  }
};

size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * 4096;
}

TEST_F(MemoryDeathTest, GivesZeroedAlignedRegisteredMemory) {
  EXPECT_EXIT(
      {
        RegionRegistry registry;
        auto memory = Memory::Start(Options(8 * kMib), registry);
        if (!memory.ok()) Fail(memory.status().ToString());
        for (const size_t bytes : {4 * kMib, size_t{5000}, 4 * kMib - 8192}) {
          auto part = (*memory)->Allocate("test", bytes);
          if (!part.ok()) Fail(part.status().ToString());
          if (reinterpret_cast<uintptr_t>(*part) % 4096 != 0) Fail("not aligned");
          if (std::any_of(*part, *part + bytes, [](std::byte b) { return b != std::byte{0}; })) {
            Fail("not zero");
          }
          const Region* region = registry.Find(*part, bytes);
          if (region == nullptr || region->fd < 0 || region->iova == 0) Fail("not registered");
          (*part)[bytes - 1] = std::byte{42};
          char seen = 0;
          if (pread(region->fd, &seen, 1, static_cast<off_t>(region->offset + bytes - 1)) != 1 ||
              seen != 42) {
            Fail("a peer would see other memory");
          }
        }
        const Memory::Usage usage = (*memory)->usage();
        if (usage.hugepages || usage.page_bytes != 4096 || usage.allocated.size() != 3 ||
            usage.free_bytes >= usage.total_bytes) {
          Fail("usage");
        }
        memory->reset();
        if (!registry.regions().empty()) Fail("regions stayed");
        _exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(MemoryDeathTest, WhatNobodyUsedIsNotResident) {
  EXPECT_EXIT(
      {
        RegionRegistry registry;
        const size_t before = ResidentBytes();
        auto memory = Memory::Start(Options(64 * kMib), registry);
        if (!memory.ok()) Fail(memory.status().ToString());
        auto buffers = ReactorBuffers::Make(**memory, "test", 4, {64 * 1024, 256});
        if (!buffers.ok()) Fail(buffers.status().ToString());
        const size_t grown = ResidentBytes() - before;
        if (grown > 24 * kMib) Fail("resident: " + std::to_string(grown));
        _exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(MemoryDeathTest, LeavesTheCallerOnItsCores) {
  EXPECT_EXIT(
      {
        cpu_set_t before;
        cpu_set_t after;
        sched_getaffinity(0, sizeof(before), &before);
        RegionRegistry registry;
        if (!Memory::Start(Options(kMib), registry).ok()) Fail("did not start");
        sched_getaffinity(0, sizeof(after), &after);
        _exit(CPU_EQUAL(&before, &after) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(MemoryDeathTest, ASecondStartInAProcessIsRefused) {
  EXPECT_EXIT(
      {
        RegionRegistry registry;
        if (!Memory::Start(Options(kMib), registry).ok()) Fail("did not start");
        const Status again = Memory::Start(Options(kMib), registry).status();
        _exit(ErrnoOf(again) == EALREADY ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(MemoryDeathTest, WhatDoesNotFitIsSaidInOneLine) {
  EXPECT_EXIT(
      {
        RegionRegistry registry;
        auto memory = Memory::Start(Options(kMib), registry);
        if (!memory.ok()) Fail(memory.status().ToString());
        const auto much = (*memory)->Allocate("iscsi: data-out", 512 * kMib);
        fprintf(stderr, "%s\n", std::string(much.status().message()).c_str());
        _exit(ErrnoOf(much.status()) == ENOMEM && registry.regions().empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0),
      "no pool memory for iscsi: data-out: node 0, 4 KiB pages: wanted 512 MiB, free [0-9]+ MiB");
}

TEST(MemoryTest, TooLittleByOptionNamesTheNeeds) {
  RegionRegistry registry;
  const Memory::Options options{.hugepages = Hugepages::kOff,
                                .mib = 3,
                                .needs = {{.consumer = "iscsi: buffers", .bytes = 8 * kMib}}};
  const Status status = Memory::Start(options, registry).status();
  EXPECT_EQ(DetailOf(status).field, "--mem-mib");
  EXPECT_EQ(DetailOf(status).value, "3");
  EXPECT_EQ(DetailOf(status).reason, "at least 11 are needed (iscsi: buffers: 8192 KiB)");
}

TEST(MemoryTest, MoreThanTheMachineHasFailsBeforeEalStarts) {
  RegionRegistry registry;
  const Memory::Options options{.hugepages = Hugepages::kOff, .mib = size_t{1} << 30};
  EXPECT_EQ(ErrnoOf(Memory::Start(options, registry).status()), ENOMEM);
}

TEST(ReactorBuffersTest, NeedIsASumWithItsFactors) {
  const MemoryNeed need = ReactorBuffers::Need("file disks: bounce", 2, {65536, 16});
  EXPECT_EQ(need.consumer, "file disks: bounce, 2 reactors x 16 x 64 KiB");
  EXPECT_EQ(need.bytes, 2u * 16 * 65536);
}

}  // namespace
}  // namespace pollux
