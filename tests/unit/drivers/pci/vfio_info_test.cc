#include "drivers/pci/vfio_info.h"

#include <gtest/gtest.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "drivers/pci/vfio_bar.h"

namespace pollux::pci {
namespace {

// An answer of VFIO, put together from its parts.
class Answer {
 public:
  template <typename T>
  void Append(const T& part) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(part));
    memcpy(bytes_.data() + at, &part, sizeof(part));
  }
  uint32_t size() const { return static_cast<uint32_t>(bytes_.size()); }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::vector<std::byte>& raw() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

struct Counted {
  vfio_info_cap_header header;
  uint32_t count;
  uint32_t reserved;
};

Answer IommuAnswer(uint32_t next = 0) {
  Answer answer;
  answer.Append(vfio_iommu_type1_info{.argsz = 0,
                                      .flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
                                      .iova_pgsizes = 0x40201000,
                                      .cap_offset = sizeof(vfio_iommu_type1_info)});
  answer.Append(Counted{{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, next}, 2, 0});
  answer.Append(vfio_iova_range{0, 0xfedfffff});
  answer.Append(vfio_iova_range{0xfef00000, 0x7fffffffff});
  return answer;
}

Answer BarAnswer() {
  Answer answer;
  answer.Append(vfio_region_info{.argsz = 0,
                                 .flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                                          VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS,
                                 .index = 0,
                                 .cap_offset = sizeof(vfio_region_info),
                                 .size = 0x8000,
                                 .offset = 0x10000000000});
  return answer;
}

TEST(VfioInfoTest, ReadsRangesAndPages) {
  const IommuInfo info = ParseIommuInfo(IommuAnswer().bytes());
  EXPECT_EQ(info.page_bytes, 4096u);
  ASSERT_EQ(info.ranges.size(), 2u);
  EXPECT_EQ(info.ranges[0].last, 0xfedfffffu);
  EXPECT_EQ(info.ranges[1].first, 0xfef00000u);
  EXPECT_EQ(info.ranges[1].last, 0x7fffffffffu);
}

TEST(VfioInfoTest, WithoutRangesThereAreThoseOfEveryUnit) {
  Answer answer;
  answer.Append(vfio_iommu_type1_info{});
  const IommuInfo info = ParseIommuInfo(answer.bytes());
  EXPECT_EQ(info.page_bytes, 4096u);
  ASSERT_EQ(info.ranges.size(), 2u);
  EXPECT_EQ(info.ranges[1].last, 0x7fffffffffu);
}

TEST(VfioInfoTest, ACircleOfCapabilitiesEnds) {
  EXPECT_EQ(ParseIommuInfo(IommuAnswer(sizeof(vfio_iommu_type1_info)).bytes()).ranges.size(), 2u);
  EXPECT_EQ(ParseIommuInfo(IommuAnswer(0xfffffff0).bytes()).ranges.size(), 2u);
}

TEST(VfioInfoTest, ACutAnswerIsReadAsFarAsItGoes) {
  const Answer whole = IommuAnswer();
  for (size_t bytes = 0; bytes <= whole.bytes().size(); ++bytes) {
    const std::vector<std::byte> cut(whole.bytes().begin(),
                                     whole.bytes().begin() + static_cast<long>(bytes));
    EXPECT_FALSE(ParseIommuInfo(cut).ranges.empty());
    EXPECT_EQ(ParseIommuInfo(cut).page_bytes, 4096u);
  }
}

TEST(VfioInfoTest, ReadsSparseAreasAndDropsThoseOutside) {
  Answer answer = BarAnswer();
  answer.Append(Counted{{VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0}, 5, 0});
  for (const auto& [offset, bytes] : {std::pair<uint64_t, uint64_t>{0x0, 0x2000},
                                      {0x3000, 0x1000},
                                      {0x7000, 0x2000},
                                      {0x1001, 0x1000},
                                      {UINT64_MAX & ~0xfffull, 0x2000}}) {
    answer.Append(vfio_region_sparse_mmap_area{offset, bytes});
  }
  const RegionInfo info = ParseRegionInfo(answer.bytes());
  EXPECT_EQ(info.bytes, 0x8000u);
  EXPECT_EQ(info.offset, 0x10000000000u);
  EXPECT_TRUE(info.readable && info.writable && info.mappable);
  EXPECT_FALSE(info.msix_mappable);
  ASSERT_TRUE(info.sparse);
  ASSERT_EQ(info.sparse->size(), 2u);
  EXPECT_EQ((*info.sparse)[1].offset, 0x3000u);
}

TEST(VfioInfoTest, SeesThatTheMsixTableMayBeMapped) {
  Answer answer = BarAnswer();
  answer.Append(vfio_info_cap_header{VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, 0});
  EXPECT_TRUE(ParseRegionInfo(answer.bytes()).msix_mappable);
}

TEST(VfioInfoTest, AnyBytesAreRead) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    srand(seed);
    std::vector<std::byte> bytes(static_cast<size_t>(rand() % 200));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(rand() % 5 == 0 ? rand() : 0);
    ParseRegionInfo(bytes);
    for (const IovaRange& range : ParseIommuInfo(bytes).ranges) EXPECT_LT(range.first, range.last);
  }
}

// --- What of a BAR is mapped.

using Area = RegionInfo::Area;

std::string Areas(const RegionInfo& info, std::optional<Area> table) {
  std::string text;
  for (const Area& area : MappableAreas(info, table)) {
    text += absl::StrFormat("%x+%x ", area.offset, area.bytes);
  }
  return text;
}

class MappableAreasTest : public testing::Test {
 protected:
  RegionInfo info_{.bytes = 0x4000, .readable = true, .writable = true, .mappable = true};
};

TEST_F(MappableAreasTest, AreAllOfItWhenNothingIsInTheWay) {
  EXPECT_EQ(Areas(info_, {}), "0+4000 ");
  info_.msix_mappable = true;
  EXPECT_EQ(Areas(info_, Area{0x2000, 0x100}), "0+4000 ");
}

TEST_F(MappableAreasTest, LeaveOutThePagesOfTheMsixTable) {
  EXPECT_EQ(Areas(info_, Area{0x2000, 0x100}), "0+2000 3000+1000 ");
  EXPECT_EQ(Areas(info_, Area{0x1ff0, 0x20}), "0+1000 3000+1000 ");
  EXPECT_EQ(Areas(info_, Area{0, 0x10}), "1000+3000 ");
  EXPECT_EQ(Areas(info_, Area{0x3000, 0x8000}), "0+3000 ");
}

TEST_F(MappableAreasTest, AreTheOnesThatTheKernelNames) {
  info_.sparse = {{0x1000, 0x1800}};
  EXPECT_EQ(Areas(info_, Area{0x1000, 0x10}), "1000+1000 ");
  info_.sparse.emplace();
  EXPECT_EQ(Areas(info_, {}), "");
}

TEST_F(MappableAreasTest, AreNoneOfWhatCannotBeMapped) {
  info_.mappable = false;
  EXPECT_EQ(Areas(info_, {}), "");
}

TEST_F(MappableAreasTest, AreWholePages) {
  info_.bytes = 0x1800;
  EXPECT_EQ(Areas(info_, {}), "0+1000 ");
  info_.bytes = 0x100;
  EXPECT_EQ(Areas(info_, {}), "");
}

}  // namespace
}  // namespace pollux::pci
