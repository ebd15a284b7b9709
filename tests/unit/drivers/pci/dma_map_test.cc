#include "drivers/pci/dma_map.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace pollux::pci {
namespace {

constexpr size_t kPage = 4096;

// Maps regions one behind the other from an IOVA on, or as pages that the test says.
class Mapper final : public DmaMapper {
 public:
  Result<Mapping> Map(const Region& region) override {
    if (region.name == refuses) return NoSpace("no room for '%s'", region.name);
    heard.push_back("+" + region.name);
    if (!pages.page_iova.empty()) return pages;
    const uint64_t iova = next_iova;
    next_iova += 0x100000;
    return Mapping{.page_bytes = 0, .page_iova = {iova}};
  }
  void Unmap(const Region& region, const Mapping& mapping) override {
    EXPECT_FALSE(mapping.page_iova.empty());
    heard.push_back("-" + region.name);
  }

  uint64_t next_iova = 0x10000;
  Mapping pages;
  std::string refuses;
  std::vector<std::string> heard;
};

class DmaMapTest : public testing::Test {
 protected:
  alignas(8 * kPage) std::byte memory_[8 * kPage];
  RegionRegistry registry_;
  Mapper mapper_;
  std::unique_ptr<DmaMap> map_;

  void Start() {
    Result<std::unique_ptr<DmaMap>> map = DmaMap::Start(registry_, mapper_);
    ASSERT_TRUE(map.ok()) << map.status();
    map_ = *std::move(map);
  }
  Status Add(size_t offset, size_t bytes, const std::string& name) {
    return registry_.Add({.address = memory_ + offset, .bytes = bytes, .name = name});
  }
  void Remove(size_t offset) { registry_.Remove(memory_ + offset); }
  // "iova+bytes" of where a view finds memory_ + offset, in hex.
  std::string Find(DmaView& view, size_t offset) {
    const DmaView::Piece piece = view.Translate(memory_ + offset);
    if (piece.bytes == 0) return "unknown";
    return absl::StrFormat("%x+%x", piece.iova, piece.bytes);
  }
};

TEST_F(DmaMapTest, TellsAddressAndRestOfTheRegion) {
  ASSERT_TRUE(Add(0, 2 * kPage, "before").ok());
  Start();
  ASSERT_TRUE(Add(4 * kPage, kPage, "after").ok());
  DmaView view(*map_);
  EXPECT_EQ(Find(view, 0), "10000+2000");
  EXPECT_EQ(Find(view, 1), "10001+1fff");
  EXPECT_EQ(Find(view, 2 * kPage - 1), "11fff+1");
  EXPECT_EQ(Find(view, 4 * kPage), "110000+1000");
  EXPECT_EQ(Find(view, 5 * kPage - 4), "110ffc+4");
  EXPECT_EQ(Find(view, 0x10), "10010+1ff0");
}

TEST_F(DmaMapTest, KnowsNothingOfOtherMemory) {
  Start();
  DmaView view(*map_);
  EXPECT_EQ(Find(view, 0), "unknown");
  ASSERT_TRUE(Add(kPage, kPage, "a").ok());
  ASSERT_TRUE(Add(4 * kPage, kPage, "b").ok());
  for (const size_t offset : {size_t{0}, kPage - 1, 2 * kPage, 3 * kPage, 5 * kPage, 8 * kPage}) {
    EXPECT_EQ(Find(view, offset), "unknown") << offset;
  }
  EXPECT_EQ(view.Translate(nullptr).bytes, 0u);
  EXPECT_EQ(view.Translate(reinterpret_cast<void*>(UINTPTR_MAX)).bytes, 0u);
}

TEST_F(DmaMapTest, NeighboursAreNotOnePiece) {
  Start();
  mapper_.pages = {.page_bytes = 0, .page_iova = {0x5000}};
  ASSERT_TRUE(Add(0, kPage, "a").ok());
  mapper_.pages.page_iova = {0x6000};
  ASSERT_TRUE(Add(kPage, kPage, "b").ok());
  DmaView view(*map_);
  EXPECT_EQ(Find(view, 0), "5000+1000");
  EXPECT_EQ(Find(view, kPage), "6000+1000");
}

TEST_F(DmaMapTest, PagesAreContiguousAsFarAsTheDeviceFindsThemSo) {
  Start();
  mapper_.pages = {.page_bytes = kPage, .page_iova = {0x7000, 0x8000, 0x3000, 0x4000, 0xf000}};
  ASSERT_TRUE(Add(0, 5 * kPage, "a").ok());
  DmaView view(*map_);
  EXPECT_EQ(Find(view, 0), "7000+2000");
  EXPECT_EQ(Find(view, kPage + 8), "8008+ff8");
  EXPECT_EQ(Find(view, 2 * kPage), "3000+2000");
  EXPECT_EQ(Find(view, 4 * kPage), "f000+1000");
  EXPECT_EQ(Find(view, 3 * kPage), "4000+1000");
}

TEST_F(DmaMapTest, ARegionMayBeginAndEndWithinAPage) {
  Start();
  mapper_.pages = {.page_bytes = kPage, .page_iova = {0x7000, 0x9000}};
  ASSERT_TRUE(Add(0x100, kPage, "a").ok());
  DmaView view(*map_);
  EXPECT_EQ(Find(view, 0), "unknown");
  EXPECT_EQ(Find(view, 0x100), "7100+f00");
  EXPECT_EQ(Find(view, kPage), "9000+100");
  EXPECT_EQ(Find(view, kPage + 0x100), "unknown");
}

TEST_F(DmaMapTest, NewMemoryIsFoundWithoutARefresh) {
  Start();
  DmaView view(*map_);
  ASSERT_TRUE(Add(0, kPage, "a").ok());
  EXPECT_EQ(Find(view, 0), "10000+1000");
}

TEST_F(DmaMapTest, MemoryThatCameBackIsFoundWhereItIsNow) {
  Start();
  DmaView view(*map_);
  ASSERT_TRUE(Add(0, kPage, "a").ok());
  EXPECT_EQ(Find(view, 0), "10000+1000");
  Remove(0);
  view.Refresh();
  EXPECT_EQ(Find(view, 0), "unknown");
  ASSERT_TRUE(Add(0, 2 * kPage, "a").ok());
  EXPECT_EQ(Find(view, 0), "110000+2000");
}

TEST_F(DmaMapTest, ARefusalIsTheRegionsOwn) {
  Start();
  mapper_.refuses = "big";
  const Status status = Add(0, kPage, "big");
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_EQ(status.message(), "no room for 'big'");
  EXPECT_TRUE(registry_.regions().empty());
  ASSERT_TRUE(Add(0, kPage, "small").ok());
  DmaView view(*map_);
  EXPECT_EQ(Find(view, 0), "10000+1000");
}

TEST_F(DmaMapTest, ARefusalAtTheStartUnmapsWhatWasMapped) {
  ASSERT_TRUE(Add(0, kPage, "a").ok());
  ASSERT_TRUE(Add(kPage, kPage, "b").ok());
  mapper_.refuses = "b";
  EXPECT_EQ(ErrnoOf(DmaMap::Start(registry_, mapper_).status()), ENOSPC);
  EXPECT_EQ(mapper_.heard, (std::vector<std::string>{"+a", "-a"}));
  EXPECT_TRUE(Add(2 * kPage, kPage, "nobody follows").ok());
  EXPECT_EQ(mapper_.heard.size(), 2u);
}

TEST_F(DmaMapTest, ItsEndUnmapsEverything) {
  Start();
  ASSERT_TRUE(Add(0, kPage, "a").ok());
  ASSERT_TRUE(Add(kPage, kPage, "b").ok());
  map_.reset();
  EXPECT_EQ(mapper_.heard, (std::vector<std::string>{"+a", "+b", "-a", "-b"}));
  Remove(0);
  EXPECT_EQ(mapper_.heard.size(), 4u);
}

TEST_F(DmaMapTest, ATableIsKeptForAsLongAsAViewLooksIntoIt) {
  Start();
  auto slow = std::make_unique<DmaView>(*map_);
  DmaView fast(*map_);
  ASSERT_TRUE(Add(0, kPage, "a").ok());
  EXPECT_EQ(map_->retired_tables(), 1u);
  fast.Refresh();
  EXPECT_EQ(map_->retired_tables(), 1u);
  ASSERT_TRUE(Add(kPage, kPage, "b").ok());
  fast.Refresh();
  ASSERT_TRUE(Add(2 * kPage, kPage, "c").ok());
  EXPECT_EQ(map_->retired_tables(), 2u);  // One for each view.
  slow->Refresh();
  EXPECT_EQ(map_->retired_tables(), 1u);
  fast.Refresh();
  EXPECT_EQ(map_->retired_tables(), 0u);
  ASSERT_TRUE(Add(3 * kPage, kPage, "d").ok());
  fast.Refresh();
  slow.reset();
  EXPECT_EQ(map_->retired_tables(), 0u);
}

// Under TSan and ASan this shows that a table is neither freed nor changed under a reader.
TEST_F(DmaMapTest, ThreadsTranslateWhileRegionsComeAndGo) {
  constexpr int kChanges = 3000;
  mapper_.pages = {.page_bytes = kPage, .page_iova = {0x7000, 0x9000}};
  ASSERT_TRUE(Add(0, 2 * kPage, "stays").ok());
  Start();
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> rounds{0};
  auto read = [&] {
    while (!stop.load()) {
      DmaView view(*map_);
      for (int i = 0; i < 50; ++i) {
        view.Refresh();
        const DmaView::Piece stays = view.Translate(memory_ + kPage + 0x10);
        if (stays.iova != 0x9010 || stays.bytes != kPage - 0x10) wrong.fetch_add(1);
        const DmaView::Piece moves = view.Translate(memory_ + 4 * kPage + 0x20);
        if (moves.bytes != 0 && moves.iova != 0x7020) wrong.fetch_add(1);
      }
      rounds.fetch_add(1);
    }
  };
  std::thread readers[] = {std::thread(read), std::thread(read), std::thread(read)};
  for (int i = 0; i < kChanges || rounds.load() < 10; ++i) {
    ASSERT_TRUE(Add(4 * kPage, 2 * kPage, "moves").ok());
    Remove(4 * kPage);
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(map_->retired_tables(), 0u);
}

}  // namespace
}  // namespace pollux::pci
