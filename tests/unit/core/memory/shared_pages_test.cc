#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include "core/memory/memory.h"

namespace pollux {
namespace {

class SharedPagesTest : public testing::Test {
 protected:
  RegionRegistry registry_;

  std::unique_ptr<SharedPages> Map(size_t bytes, bool huge = false) {
    auto pages = SharedPages::Map("test", bytes, huge, registry_);
    EXPECT_TRUE(pages.ok()) << pages.status();
    return *std::move(pages);
  }
  size_t ResidentBytes() const {
    struct stat info {};
    EXPECT_EQ(fstat(registry_.regions().at(0).fd, &info), 0);
    return static_cast<size_t>(info.st_blocks) * 512;
  }
};

bool IsZero(const std::byte* begin, size_t bytes) {
  return std::all_of(begin, begin + bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST_F(SharedPagesTest, AreZeroRegisteredAndNotResident) {
  auto pages = Map(1 << 20);
  EXPECT_EQ(ResidentBytes(), 0u);
  EXPECT_TRUE(IsZero(pages->address(), pages->bytes()));
  EXPECT_EQ(registry_.Find(pages->address(), 1 << 20)->name, "test");
  pages.reset();
  EXPECT_TRUE(registry_.regions().empty());
}

TEST_F(SharedPagesTest, AreWholePages) { EXPECT_EQ(Map(5000)->bytes(), 8192u); }

TEST_F(SharedPagesTest, APeerSeesTheSameMemoryAndCannotShrinkIt) {
  auto pages = Map(8192);
  const int fd = registry_.regions()[0].fd;
  void* peer = mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(peer, MAP_FAILED);
  pages->address()[4097] = std::byte{7};
  EXPECT_EQ(static_cast<std::byte*>(peer)[4097], std::byte{7});
  EXPECT_EQ(ftruncate(fd, 4096), -1);
  EXPECT_EQ(errno, EPERM);
  munmap(peer, 8192);
}

TEST_F(SharedPagesTest, PunchingTouchesNothingElse) {
  constexpr size_t kBytes = 1 << 20;
  auto pages = Map(kBytes);
  for (const auto& [offset, bytes] :
       {std::pair<size_t, size_t>{0, kBytes - 1}, {4096, 512 << 10}, {100, kBytes - 300}}) {
    memset(pages->address(), 0xa5, kBytes);
    EXPECT_TRUE(pages->TryPunch(offset, bytes));
    EXPECT_TRUE(IsZero(pages->address() + offset, bytes)) << offset;
    if (offset > 0) {
      EXPECT_EQ(pages->address()[offset - 1], std::byte{0xa5});
    }
    EXPECT_EQ(pages->address()[offset + bytes], std::byte{0xa5});
  }
}

TEST_F(SharedPagesTest, LittleIsNotWorthPunching) {
  auto pages = Map(1 << 20);
  memset(pages->address(), 0xa5, pages->bytes());
  EXPECT_FALSE(pages->TryPunch(0, 4096));
  EXPECT_EQ(pages->address()[0], std::byte{0xa5});
}

TEST_F(SharedPagesTest, PunchingGivesPagesBack) {
  auto pages = Map(1 << 20);
  memset(pages->address(), 1, pages->bytes());
  EXPECT_GE(ResidentBytes(), size_t{1} << 20);
  EXPECT_TRUE(pages->TryPunch(0, pages->bytes()));
  EXPECT_EQ(ResidentBytes(), 0u);
}

// A device that does DMA finds pages, not addresses: a fresh page in the place of one that it was
// told of would not be where it writes.
TEST_F(SharedPagesTest, PagesThatADeviceWasToldOfStay) {
  class Pinning final : public RegionRegistry::Follower {
    Status OnRegionAdded(const Region&) override { return OkStatus(); }
    void OnRegionRemoved(const Region&) override {}
    bool pins_pages() const override { return true; }
  } device;
  auto pages = Map(1 << 20);
  ASSERT_TRUE(registry_.Follow(device).ok());
  memset(pages->address(), 1, pages->bytes());
  EXPECT_FALSE(pages->TryPunch(0, pages->bytes()));
  EXPECT_EQ(ResidentBytes(), 1u << 20);
  registry_.Unfollow(device);
  EXPECT_TRUE(pages->TryPunch(0, pages->bytes()));
  EXPECT_EQ(ResidentBytes(), 0u);
}

TEST_F(SharedPagesTest, FallBackToOrdinaryPagesWithoutHugepages) {
  auto pages = Map(4096, /*huge=*/true);
  // Whether the machine has some is not ours to say; what we are told must be true.
  EXPECT_EQ(pages->bytes(), pages->huge() ? size_t{2} << 20 : 4096u);
  pages->address()[0] = std::byte{1};
}

TEST_F(SharedPagesTest, MoreThanTheMachineHasIsRefusedWithFigures) {
  for (const size_t bytes : {size_t{1} << 50, SIZE_MAX - 4096, SIZE_MAX}) {
    const auto pages = SharedPages::Map("bdev Malloc0", bytes, false, registry_);
    EXPECT_EQ(ErrnoOf(pages.status()), ENOMEM);
    EXPECT_NE(pages.status().message().find("not enough memory for bdev Malloc0: node 0, "),
              absl::string_view::npos)
        << pages.status();
  }
  EXPECT_TRUE(registry_.regions().empty());
}

// On hugepages that the test reserves, and gives back.
class HugeSharedPagesTest : public SharedPagesTest {
 protected:
  static constexpr size_t kPage = 2 << 20;
  static constexpr long kReserved = 4;

  void SetUp() override {
    if (Number("nr_hugepages") < 0) GTEST_SKIP() << "the kernel has no hugepages of 2 MiB";
    // Others may have reserved some, and may do so meanwhile.
    if (!Reserve(kReserved)) GTEST_SKIP() << "hugepages can be reserved by root only";
    reserved_ = true;
    if (Available() < kReserved) GTEST_SKIP() << "no memory in pieces of 2 MiB is left";
  }
  void TearDown() override {
    if (reserved_) Reserve(-kReserved);
  }

  static std::string File(const char* name) {
    return std::string("/sys/kernel/mm/hugepages/hugepages-2048kB/") + name;
  }
  static long Number(const char* name) {
    long number = -1;
    std::ifstream(File(name)) >> number;
    return number;
  }
  // Free, and set aside for nobody.
  static long Available() { return Number("free_hugepages") - Number("resv_hugepages"); }
  static bool Reserve(long more) {
    const long count = Number("nr_hugepages") + more;
    std::ofstream file(File("nr_hugepages"));
    file << count << std::flush;
    return file.good();
  }

 private:
  bool reserved_ = false;
};

TEST_F(HugeSharedPagesTest, AreWholeHugepagesOfZeroes) {
  auto pages = Map(kPage + 1, /*huge=*/true);
  ASSERT_TRUE(pages->huge());
  EXPECT_EQ(pages->bytes(), 2 * kPage);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(pages->address()) % kPage, 0u);
  EXPECT_TRUE(IsZero(pages->address(), pages->bytes()));
  const Region region = registry_.regions().at(0);
  EXPECT_EQ(region.bytes, 2 * kPage);
  struct stat info {};
  ASSERT_EQ(fstat(region.fd, &info), 0);
  EXPECT_EQ(info.st_blksize, static_cast<blksize_t>(kPage));
}

TEST_F(HugeSharedPagesTest, AreSetAsideUntilTheyAreLetGo) {
  const long before = Available();
  auto pages = Map(3 * kPage, /*huge=*/true);
  ASSERT_TRUE(pages->huge());
  EXPECT_EQ(Available(), before - 3) << "before they are touched";
  memset(pages->address(), 1, pages->bytes());
  EXPECT_EQ(Available(), before - 3);
  pages.reset();
  EXPECT_EQ(Available(), before);
  EXPECT_TRUE(registry_.regions().empty());
}

TEST_F(HugeSharedPagesTest, FallBackToOrdinaryPagesWhenThereAreTooFew) {
  const long before = Available();
  auto pages = Map(static_cast<size_t>(before + 1) * kPage, /*huge=*/true);
  EXPECT_FALSE(pages->huge());
  EXPECT_EQ(Available(), before);
  pages->address()[pages->bytes() - 1] = std::byte{1};
}

TEST_F(HugeSharedPagesTest, APeerSeesTheSameMemoryAndCannotShrinkIt) {
  auto pages = Map(kPage, /*huge=*/true);
  ASSERT_TRUE(pages->huge());
  const int fd = registry_.regions()[0].fd;
  void* peer = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(peer, MAP_FAILED);
  pages->address()[kPage - 1] = std::byte{7};
  EXPECT_EQ(static_cast<std::byte*>(peer)[kPage - 1], std::byte{7});
  EXPECT_EQ(ftruncate(fd, 0), -1);
  EXPECT_EQ(errno, EPERM);
  munmap(peer, kPage);
}

TEST_F(HugeSharedPagesTest, AreNotPunched) {
  auto pages = Map(2 * kPage, /*huge=*/true);
  ASSERT_TRUE(pages->huge());
  memset(pages->address(), 0xa5, pages->bytes());
  const size_t resident = ResidentBytes();
  EXPECT_FALSE(pages->TryPunch(1, pages->bytes() - 2));
  EXPECT_EQ(ResidentBytes(), resident);
}

}  // namespace
}  // namespace pollux
