#include "drivers/nvme/data_pointer.h"

#include "tests/unit/drivers/nvme/queue_world.h"

namespace pollux::nvme {
namespace {

// The device's reading of a data pointer: the addresses of all bytes, from entry and list alone.
std::vector<uint64_t> ReadPrp(const SubmissionEntry& entry, const std::byte* list,
                              uint64_t list_iova, uint64_t page_bytes, uint64_t bytes) {
  std::vector<uint64_t> pages = {entry.prp1};
  const uint64_t count = (pages[0] % page_bytes + bytes + page_bytes - 1) / page_bytes;
  EXPECT_EQ(pages[0] % 4, 0u);
  if (count == 2) pages.push_back(entry.prp2);
  if (count > 2) {
    EXPECT_EQ(entry.prp2, list_iova);
    const auto* const in_list = reinterpret_cast<const Le64*>(list);
    pages.insert(pages.end(), in_list, in_list + count - 1);
  }
  std::vector<uint64_t> all;
  for (size_t n = 0; n < pages.size(); ++n) {
    if (n > 0) {
      EXPECT_EQ(pages[n] % page_bytes, 0u);
    }
    const uint64_t end = pages[n] - pages[n] % page_bytes + page_bytes;
    for (uint64_t at = pages[n]; at < end && all.size() < bytes; ++at) all.push_back(at);
  }
  return all;
}

std::vector<uint64_t> ReadSgl(const SubmissionEntry& entry, const std::byte* list,
                              uint64_t list_iova) {
  EXPECT_EQ(entry.flags & 0xc0, kPsdtSgl);
  SglDescriptor first;
  std::memcpy(reinterpret_cast<std::byte*>(&first), &entry.prp1, sizeof(entry.prp1));
  std::memcpy(reinterpret_cast<std::byte*>(&first) + 8, &entry.prp2, sizeof(entry.prp2));
  std::vector<SglDescriptor> blocks = {first};
  if (first.type == kSglLastSegment) {
    EXPECT_EQ(first.address, list_iova);
    const auto* const in_list = reinterpret_cast<const SglDescriptor*>(list);
    blocks.assign(in_list, in_list + first.length / sizeof(SglDescriptor));
  }
  std::vector<uint64_t> all;
  for (const SglDescriptor& block : blocks) {
    EXPECT_EQ(block.type, kSglDataBlock);
    for (uint64_t i = 0; i < block.length; ++i) all.push_back(block.address + i);
  }
  return all;
}

class DataPointerTest : public testing::Test {
 protected:
  static constexpr uint64_t kListIova = 0x1234'5000;

  explicit DataPointerTest(std::vector<uint64_t> page_iova = {})
      : memory_(kPages, std::move(page_iova)), view_(memory_.map()) {}

  int Point(const std::vector<iovec>& pieces) {
    entry_ = {};
    std::memset(list_, 0xee, sizeof(list_));
    const PointerList list = {list_, kListIova, list_bytes_};
    return PointToPieces(entry_, view_, rules_, list, pieces.data(),
                         static_cast<uint32_t>(pieces.size()));
  }
  iovec Piece(size_t offset, size_t bytes) { return {memory_.data() + offset, bytes}; }
  virtual uint64_t IovaOf(size_t offset) { return SharedMemory::kIova + offset; }

  // Points, and has the device read the very bytes back.
  void Check(const std::vector<iovec>& pieces) {
    ASSERT_EQ(Point(pieces), 0);
    std::vector<uint64_t> expected;
    for (const iovec& piece : pieces) {
      const auto offset =
          static_cast<size_t>(static_cast<std::byte*>(piece.iov_base) - memory_.data());
      for (size_t i = 0; i < piece.iov_len; ++i) expected.push_back(IovaOf(offset + i));
    }
    EXPECT_TRUE(expected ==
                (IsSgl() ? ReadSgl(entry_, list_, kListIova)
                         : ReadPrp(entry_, list_, kListIova, rules_.page_bytes, expected.size())));
  }
  bool IsSgl() const { return (entry_.flags & 0xc0) != 0; }

  static constexpr size_t kPages = 64;
  SharedMemory memory_;
  pci::DmaView view_;
  PointerRules rules_;
  uint32_t list_bytes_ = kPage;
  std::byte list_[kPage];
  SubmissionEntry entry_;
};

TEST_F(DataPointerTest, OnePageIsOneEntry) {
  Check({Piece(0, kPage)});
  EXPECT_EQ(entry_.prp1, SharedMemory::kIova);
  EXPECT_EQ(entry_.prp2, 0u);
}

TEST_F(DataPointerTest, TwoPagesAreTwoEntries) {
  Check({Piece(0, 2 * kPage)});
  EXPECT_EQ(entry_.prp2, SharedMemory::kIova + kPage);
}

TEST_F(DataPointerTest, ThreePagesNeedAList) {
  Check({Piece(0, 3 * kPage)});
  EXPECT_EQ(entry_.prp2, kListIova);
}

TEST_F(DataPointerTest, TellsEveryOffsetAndLength) {
  for (const size_t offset : {0ul, 4ul, 512ul, 2048ul, 3584ul, 4092ul}) {
    for (const size_t bytes :
         {4ul, 512ul, 4088ul, 4092ul, 4096ul, 4100ul, 8188ul, 8192ul, 8196ul, 16384ul, 131072ul}) {
      SCOPED_TRACE(testing::Message() << offset << " + " << bytes);
      Check({Piece(offset, bytes)});
    }
  }
}

TEST_F(DataPointerTest, TheShortWaySaysTheSame) {
  for (size_t offset = 0; offset < kPage; offset += 4) {
    for (const size_t bytes : {4ul, 512ul, 4096ul, 4100ul, 8192ul}) {
      SubmissionEntry entry;
      view_.Translate(memory_.data());
      const bool plain = PointToTwoPages(entry, view_, kPage, memory_.data() + offset, bytes);
      ASSERT_EQ(plain, (offset + bytes + kPage - 1) / kPage <= 2) << offset << " + " << bytes;
      if (!plain) continue;
      ASSERT_EQ(Point({Piece(offset, bytes)}), 0);
      ASSERT_EQ(entry.prp1, entry_.prp1);
      ASSERT_EQ(entry.prp2, entry_.prp2);
    }
  }
}

TEST_F(DataPointerTest, TheShortWayKnowsItsLimits) {
  SubmissionEntry entry;
  EXPECT_FALSE(PointToTwoPages(entry, view_, kPage, memory_.data(), 512)) << "nothing is near yet";
  view_.Translate(memory_.data());
  EXPECT_FALSE(PointToTwoPages(entry, view_, kPage, memory_.data() + 2, 512));
  EXPECT_FALSE(PointToTwoPages(entry, view_, kPage, memory_.data() - 512, 512));
  EXPECT_FALSE(PointToTwoPages(entry, view_, kPage, memory_.page(kPages - 1) + 4, kPage));
  EXPECT_FALSE(PointToTwoPages(entry, view_, kPage, memory_.page(kPages - 1) + kPage, 4));
  EXPECT_TRUE(PointToTwoPages(entry, view_, kPage, memory_.page(kPages - 1), kPage));
}

TEST_F(DataPointerTest, PiecesJoinWhereTheDeviceSeesOne) {
  Check({Piece(0, 512), Piece(512, 512), Piece(1024, 3072), Piece(4096, 512)});
  EXPECT_EQ(entry_.prp2, SharedMemory::kIova + kPage);
}

TEST_F(DataPointerTest, PiecesWithPageBordersNeedNoSgl) {
  Check({Piece(512, kPage - 512), Piece(5 * kPage, kPage), Piece(2 * kPage, 3 * kPage),
         Piece(9 * kPage, 100)});
  EXPECT_FALSE(IsSgl());
}

TEST_F(DataPointerTest, EmptyPiecesAreNothing) {
  Check({Piece(0, 0), Piece(0, kPage), {nullptr, 0}, Piece(8 * kPage, kPage)});
}

TEST_F(DataPointerTest, RefusesInnerBordersWithinPages) {
  EXPECT_EQ(Point({Piece(0, 512), Piece(kPage, 512)}), -EFAULT);
  EXPECT_EQ(Point({Piece(0, kPage), Piece(2 * kPage + 512, 512)}), -EFAULT);
}

TEST_F(DataPointerTest, RefusesWhatDoesNotBeginAtADword) {
  EXPECT_EQ(Point({Piece(1, 512)}), -EFAULT);
  EXPECT_EQ(Point({Piece(2, 512)}), -EFAULT);
}

TEST_F(DataPointerTest, RefusesUnknownMemory) {
  std::byte mine[64];
  EXPECT_EQ(Point({{mine, sizeof(mine)}}), -EFAULT);
  EXPECT_EQ(Point({Piece(0, kPage), {mine, sizeof(mine)}}), -EFAULT);
  EXPECT_EQ(Point({Piece((kPages - 1) * kPage, kPage + 4)}), -EFAULT);
  EXPECT_EQ(Point({{nullptr, 512}}), -EFAULT);
  EXPECT_EQ(Point({Piece(0, SIZE_MAX)}), -EFAULT);
}

TEST_F(DataPointerTest, FillsItsListAndNoMore) {
  list_bytes_ = 64;
  Check({Piece(512, 9 * kPage - 512)});
  Check({Piece(0, 9 * kPage)});
  EXPECT_EQ(Point({Piece(0, 9 * kPage + 4)}), -E2BIG);
  EXPECT_EQ(Point({Piece(4, 9 * kPage)}), -E2BIG);
  Check({Piece(0, 9 * kPage - 4)});
  EXPECT_EQ(list_[64], std::byte{0xee});
}

TEST_F(DataPointerTest, PagesOfTheControllerMayBeLarger) {
  rules_.page_bytes = 4 * kPage;
  Check({Piece(512, 20 * kPage)});
  Check({Piece(0, 8 * kPage)});
  EXPECT_EQ(entry_.prp2, SharedMemory::kIova + 4 * kPage);
}

TEST_F(DataPointerTest, OnePieceNeedsNoSegment) {
  rules_.sgl = true;
  Check({Piece(0, 32 * kPage)});
  EXPECT_TRUE(IsSgl());
  Check({Piece(0, 2 * kPage)});
  EXPECT_FALSE(IsSgl()) << "two PRP entries are as short";
}

TEST_F(DataPointerTest, TakesTheShorterList) {
  rules_.sgl = true;
  Check({Piece(0, kPage), Piece(2 * kPage, kPage), Piece(4 * kPage, kPage)});
  EXPECT_FALSE(IsSgl());
  Check({Piece(0, 10 * kPage), Piece(20 * kPage, 10 * kPage)});
  EXPECT_TRUE(IsSgl());
}

TEST_F(DataPointerTest, SglTellsWhatPrpCannot) {
  rules_.sgl = true;
  Check({Piece(0, 512), Piece(kPage, 512)});
  Check({Piece(1, 511), Piece(3 * kPage + 7, 1), Piece(2 * kPage + 3, 512)});
  Check({Piece(3, 9)});
  EXPECT_TRUE(IsSgl());
}

TEST_F(DataPointerTest, SglInDwordsWhereItMustBe) {
  rules_.sgl = rules_.sgl_dword_aligned = true;
  Check({Piece(4, 8), Piece(kPage, 512)});
  EXPECT_EQ(Point({Piece(2, 8), Piece(kPage, 512)}), -EFAULT);
  EXPECT_EQ(Point({Piece(4, 7), Piece(kPage, 512)}), -EFAULT);
}

TEST_F(DataPointerTest, ASegmentHasAnEnd) {
  rules_.sgl = true;
  list_bytes_ = 64;
  std::vector<iovec> pieces;
  for (size_t i = 0; i < 4; ++i) pieces.push_back(Piece(2 * i * kPage + 4, 8));
  Check(pieces);
  pieces.push_back(Piece(20 * kPage + 4, 8));
  EXPECT_EQ(Point(pieces), -E2BIG);
}

TEST_F(DataPointerTest, MetadataIsOnePieceAtADword) {
  EXPECT_EQ(PointToMetadata(entry_, view_, memory_.data() + 8, 64), 0);
  EXPECT_EQ(entry_.mptr, SharedMemory::kIova + 8);
  std::byte mine[64];
  EXPECT_EQ(PointToMetadata(entry_, view_, mine, sizeof(mine)), -EFAULT);
  EXPECT_EQ(PointToMetadata(entry_, view_, memory_.data() + 1, 64), -EFAULT);
  EXPECT_EQ(PointToMetadata(entry_, view_, memory_.page(kPages - 1), kPage + 1), -EFAULT);
}

// Without an IOMMU: each page lies somewhere else, some beside each other.
class ScatteredTest : public DataPointerTest {
 protected:
  ScatteredTest() : DataPointerTest(PageIova()) {}
  static std::vector<uint64_t> PageIova() {
    std::vector<uint64_t> iova;
    for (uint64_t page = 0; page < kPages; ++page) {
      iova.push_back(page % 4 == 1 ? iova.back() + kPage : 0x10'0000'0000 - page * 3 * kPage);
    }
    return iova;
  }
  uint64_t IovaOf(size_t offset) override { return PageIova()[offset / kPage] + offset % kPage; }
};

TEST_F(ScatteredTest, FollowsThePages) {
  for (const size_t offset : {0ul, 512ul, 4092ul, 5000ul}) {
    for (const size_t bytes : {4ul, 512ul, 4096ul, 8192ul, 12288ul, 131072ul}) {
      SCOPED_TRACE(testing::Message() << offset << " + " << bytes);
      Check({Piece(offset, bytes)});
    }
  }
}

TEST_F(ScatteredTest, FollowsThePagesBySgl) {
  rules_.sgl = true;
  Check({Piece(4090, 20), Piece(3 * kPage + 1, 5 * kPage), Piece(30 * kPage, 6 * kPage)});
  EXPECT_TRUE(IsSgl());
}

TEST_F(ScatteredTest, TheShortWayIsNotForPagesApart) {
  SubmissionEntry entry;
  view_.Translate(memory_.page(2));
  EXPECT_TRUE(PointToTwoPages(entry, view_, kPage, memory_.page(2), kPage));
  EXPECT_FALSE(PointToTwoPages(entry, view_, kPage, memory_.page(2) + 4, kPage));
}

TEST_F(ScatteredTest, MetadataMustNotCrossPagesApart) {
  EXPECT_EQ(PointToMetadata(entry_, view_, memory_.page(3) - 8, 16), -EFAULT);
  EXPECT_EQ(PointToMetadata(entry_, view_, memory_.page(1) - 8, 16), 0);
}

}  // namespace
}  // namespace pollux::nvme
