#include "drivers/pci/pci_address.h"

#include <gtest/gtest.h>

#include <string>

namespace pollux::pci {
namespace {

std::string Canonical(std::string_view text) {
  const Result<PciAddress> address = ParsePciAddress(text);
  return address.ok() ? ToString(*address) : std::string(address.status().message());
}

TEST(PciAddressTest, TakesWhatLinuxAndSpdkWrite) {
  EXPECT_EQ(Canonical("0000:01:00.0"), "0000:01:00.0");
  EXPECT_EQ(Canonical("01:00.0"), "0000:01:00.0");
  EXPECT_EQ(Canonical("0000.01.00.0"), "0000:01:00.0");
  EXPECT_EQ(Canonical("FFFF:fF:1f.7"), "ffff:ff:1f.7");
  EXPECT_EQ(Canonical("10000:e1:00.0"), "10000:e1:00.0");  // Behind Intel VMD.
}

TEST(PciAddressTest, ReadsEachNumberToItsPlace) {
  const Result<PciAddress> address = ParsePciAddress("1234:56:17.3");
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->domain, 0x1234u);
  EXPECT_EQ(address->bus, 0x56);
  EXPECT_EQ(address->device, 0x17);
  EXPECT_EQ(address->function, 3);
}

TEST(PciAddressTest, OrdersAsTheBusDoes) {
  EXPECT_LT(*ParsePciAddress("0000:02:00.0"), *ParsePciAddress("0000:10:00.0"));
  EXPECT_LT(*ParsePciAddress("ff:1f.7"), *ParsePciAddress("0001:00:00.0"));
}

TEST(PciAddressTest, RefusesEverythingElse) {
  for (const char* text : {"",
                           ":",
                           "0",
                           "00:00",
                           "0000:01:00",
                           "0000:01:00.",
                           "0000:01:00.8",
                           "0000:01:20.0",
                           "0000:1:00.0",
                           "000:01:00.0",
                           "0000:01:00.00",
                           "0000:01:00.0 ",
                           " 0000:01:00.0",
                           "0000:01:00.0\n",
                           "0000:01.00.0",
                           "0000.01:00.0",
                           "0000:01:00:0",
                           "01.00.0",
                           "0x00:01:00.0",
                           "+000:01:00.0",
                           "0000:-1:00.0",
                           "0000:g1:00.0",
                           "123456789:01:00.0",
                           "../../x",
                           "0000:01:00.0/../x"}) {
    EXPECT_EQ(Canonical(text),
              "address '" + std::string(text) + "': must be a PCI address such as 0000:01:00.0");
  }
}

}  // namespace
}  // namespace pollux::pci
