#include "drivers/pci/pci_device.h"

#include <gtest/gtest.h>

#include "drivers/pci/pci_capabilities.h"
#include "tests/unit/drivers/pci/config_space.h"

namespace pollux::pci {
namespace {

class PciDeviceTest : public testing::Test {
 protected:
  void SetCommand(uint32_t value) { device_.Set(4, 2, value); }
  uint32_t Command() { return device_.ReadConfig(4, 2); }
  // A list of PM at 40h, MSI-X of 65 vectors in BAR 4 at 60h, PCI Express at 80h.
  void MakeCapabilities() {
    device_.Set(0x06, 2, 0x0010);
    device_.Set(0x34, 1, 0x41);  // The lowest two bits are reserved.
    device_.Set(0x40, 2, 0x6001);
    device_.Set(0x60, 4, 0x00408011);
    device_.Set(0x64, 4, 0x00002004);
    device_.Set(0x80, 2, 0x0010);
  }

  ConfigSpace device_;
};

TEST_F(PciDeviceTest, BusMasteringIsOneBitOfTheCommandRegister) {
  SetCommand(0x0402);
  device_.SetBusMaster(true);
  EXPECT_EQ(Command(), 0x0406u);
  device_.SetBusMaster(false);
  EXPECT_EQ(Command(), 0x0402u);
}

TEST_F(PciDeviceTest, BusMasteringThatIsAsWantedIsNotWritten) {
  SetCommand(0x0006);
  device_.SetBusMaster(true);
  EXPECT_EQ(device_.writes, 0);
}

TEST_F(PciDeviceTest, ACommandRegisterThatNothingAnswersIsNotWritten) {
  SetCommand(0xffff);
  device_.SetBusMaster(false);
  EXPECT_EQ(device_.writes, 0);
}

TEST_F(PciDeviceTest, FindsCapabilities) {
  MakeCapabilities();
  EXPECT_EQ(FindCapability(device_, pci_spec::kPowerManagementId), 0x40u);
  EXPECT_EQ(FindCapability(device_, pci_spec::kPciExpressId), 0x80u);
  EXPECT_EQ(FindCapability(device_, pci_spec::kMsiId), std::nullopt);
  const std::optional<MsixTable> table = FindMsixTable(device_);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->bar, 4);
  EXPECT_EQ(table->offset, 0x2000u);
  EXPECT_EQ(table->bytes, 65u * 16);
}

TEST_F(PciDeviceTest, WithoutAListThereIsNone) {
  MakeCapabilities();
  device_.Set(0x06, 2, 0);
  EXPECT_EQ(FindCapability(device_, pci_spec::kMsixId), std::nullopt);
}

TEST_F(PciDeviceTest, ACircleOfCapabilitiesEnds) {
  MakeCapabilities();
  device_.Set(0x81, 1, 0x40);
  EXPECT_EQ(FindCapability(device_, pci_spec::kMsiId), std::nullopt);
  device_.Set(0x41, 1, 0x40);
  EXPECT_EQ(FindCapability(device_, pci_spec::kMsixId), std::nullopt);
}

TEST_F(PciDeviceTest, AListThatPointsIntoTheHeaderEnds) {
  MakeCapabilities();
  device_.Set(0x41, 1, 0x04);
  EXPECT_EQ(FindCapability(device_, pci_spec::kMsixId), std::nullopt);
}

TEST_F(PciDeviceTest, ADeviceThatIsGoneHasNoCapabilities) {
  for (uint32_t offset = 0; offset < pci_spec::kConfigBytes; offset += 4) {
    device_.Set(offset, 4, pci_spec::kAllOnes);
  }
  EXPECT_EQ(FindCapability(device_, pci_spec::kMsixId), std::nullopt);
  EXPECT_EQ(FindCapability(device_, 0xff), std::nullopt);
}

TEST_F(PciDeviceTest, AnMsixTableInNoBarIsNone) {
  MakeCapabilities();
  device_.Set(0x64, 4, 0x00002006);
  EXPECT_FALSE(FindMsixTable(device_));
}

}  // namespace
}  // namespace pollux::pci
