#include "drivers/pci/vfio_bar.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "core/mmio.h"
#include "core/unique_fd.h"

namespace pollux::pci {
namespace {

// A memfd in the device's place: it can be mapped, read and written as VFIO's file can, and what is
// cut off answers as a device does that is gone.
class VfioBarTest : public testing::Test {
 protected:
  static constexpr uint64_t kOffset = 0x3000;  // Of the BAR in the file.
  void SetUp() override { Resize(kOffset + 0x4000); }

  void Resize(uint64_t bytes) { ASSERT_EQ(ftruncate(fd_.get(), static_cast<off_t>(bytes)), 0); }
  VfioBar Open(std::optional<VfioBar::Area> table = {}) {
    Result<VfioBar> bar = VfioBar::Open(fd_.get(), info_, table);
    EXPECT_TRUE(bar.ok());
    return *std::move(bar);
  }

  UniqueFd fd_{memfd_create("bar", MFD_CLOEXEC)};
  RegionInfo info_{
      .bytes = 0x4000, .offset = kOffset, .readable = true, .writable = true, .mappable = true};
};

TEST_F(VfioBarTest, ReadsTheSameMappedOrNot) {
  const VfioBar mapped = Open();
  info_.mappable = false;
  const VfioBar unmapped = Open();
  EXPECT_NE(mapped.Map(0, 8), nullptr);
  EXPECT_EQ(unmapped.Map(0, 8), nullptr);
  mapped.Write(0x10, 8, 0x1122334455667788);
  unmapped.Write(0x3ffc, 4, 0xabcdef01);
  for (const VfioBar* bar : {&mapped, &unmapped}) {
    EXPECT_EQ(bar->Read(0x10, 8), 0x1122334455667788u);
    EXPECT_EQ(bar->Read(0x14, 4), 0x11223344u);
    EXPECT_EQ(bar->Read(0x16, 2), 0x1122u);
    EXPECT_EQ(bar->Read(0x13, 1), 0x55u);
    EXPECT_EQ(bar->Read(0x3ffc, 4), 0xabcdef01u);
  }
}

TEST_F(VfioBarTest, OutsideNothingAnswers) {
  const VfioBar bar = Open();
  for (const uint64_t offset : {uint64_t{0x4000}, uint64_t{0x3ffc}, UINT64_MAX - 3, UINT64_MAX}) {
    EXPECT_EQ(bar.Read(offset, 8), UINT64_MAX);
    bar.Write(offset, 8, 0);
    EXPECT_EQ(bar.Map(offset, 8), nullptr);
  }
  const VfioBar none;
  EXPECT_EQ(none.Read(0, 4), UINT64_MAX);
  EXPECT_EQ(none.bytes(), 0u);
}

TEST_F(VfioBarTest, TheMsixTableIsNeverGivenAway) {
  info_.msix_mappable = true;
  const VfioBar bar = Open(VfioBar::Area{0x2000, 0x40});
  EXPECT_NE(bar.Map(0x1ff8, 8), nullptr);
  EXPECT_EQ(bar.Map(0x1ffc, 8), nullptr);
  EXPECT_EQ(bar.Map(0x2038, 8), nullptr);
  EXPECT_NE(bar.Map(0x2040, 8), nullptr);  // In the same page.
  EXPECT_EQ(bar.Map(0, 0x4000), nullptr);
  bar.Write(0x2010, 4, 5);
  EXPECT_EQ(bar.Read(0x2010, 4), 5u);
  bar.Write(0x2012, 2, 0x1234);
  bar.Write(0x2011, 1, 6);
  EXPECT_EQ(bar.Read(0x2010, 4), 0x12340605u);
}

TEST_F(VfioBarTest, ADeviceThatIsGoneReadsAsAllOnes) {
  const VfioBar mapped = Open();
  info_.mappable = false;
  const VfioBar unmapped = Open();
  std::byte* const doorbells = mapped.Map(0x1000, 8);
  Resize(0);
  EXPECT_EQ(mapped.Read(0, 8), UINT64_MAX);
  EXPECT_EQ(unmapped.Read(0, 8), UINT64_MAX);
  EXPECT_TRUE(mapped.tripped());
  EXPECT_FALSE(unmapped.tripped());
  MmioWrite<uint32_t>(doorbells, 7);
  EXPECT_EQ(MmioRead<uint32_t>(doorbells + 4), 0xffffffffu);
}

}  // namespace
}  // namespace pollux::pci
