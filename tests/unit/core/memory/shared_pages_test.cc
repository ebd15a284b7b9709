#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

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

TEST_F(SharedPagesTest, ZeroTouchesNothingElse) {
  constexpr size_t kBytes = 1 << 20;
  auto pages = Map(kBytes);
  for (const auto& [offset, bytes] :
       {std::pair<size_t, size_t>{0, 1}, {511, 4097}, {4096, 4096}, {100, kBytes - 300}}) {
    memset(pages->address(), 0xa5, kBytes);
    pages->Zero(offset, bytes);
    EXPECT_TRUE(IsZero(pages->address() + offset, bytes)) << offset;
    if (offset > 0) {
      EXPECT_EQ(pages->address()[offset - 1], std::byte{0xa5});
    }
    EXPECT_EQ(pages->address()[offset + bytes], std::byte{0xa5});
  }
}

TEST_F(SharedPagesTest, ZeroingMuchGivesPagesBack) {
  auto pages = Map(1 << 20);
  memset(pages->address(), 1, pages->bytes());
  EXPECT_GE(ResidentBytes(), size_t{1} << 20);
  pages->Zero(0, pages->bytes());
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

}  // namespace
}  // namespace pollux
