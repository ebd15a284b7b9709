#include "drivers/pci/pci_device.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/spec/pci_spec.h"

namespace pollux::pci {
namespace {

// Nothing but a command register.
class Function final : public PciDevice {
 public:
  const std::string& name() const override { return name_; }
  uint32_t ReadConfig(uint32_t offset, size_t bytes) override {
    EXPECT_EQ(offset, 4u);
    EXPECT_EQ(bytes, 2u);
    return command;
  }
  void WriteConfig(uint32_t offset, size_t bytes, uint32_t value) override {
    EXPECT_EQ(offset, 4u);
    EXPECT_EQ(bytes, 2u);
    written.push_back(value);
    command = static_cast<uint16_t>(value);
  }
  uint64_t bar_bytes(int) const override { return 0; }
  uint32_t Read32(int, uint64_t) override { return pci_spec::kAllOnes; }
  uint64_t Read64(int, uint64_t) override { return ~uint64_t{0}; }
  void Write32(int, uint64_t, uint32_t) override {}
  void Write64(int, uint64_t, uint64_t) override {}
  std::byte* MapBar(int, uint64_t, size_t) override { return nullptr; }
  DmaMap& dma() override { abort(); }
  uint32_t interrupt_vectors() const override { return 0; }
  Status SetInterrupt(uint32_t, int) override { return NotSupported("no interrupts"); }
  Status Reset() override { return OkStatus(); }
  Status gone() override { return OkStatus(); }
  int removal_fd() const override { return -1; }

  uint16_t command = 0;
  std::vector<uint32_t> written;

 private:
  std::string name_ = "function";
};

TEST(PciDeviceTest, BusMasteringIsOneBitOfTheCommandRegister) {
  Function function;
  function.command = 0x0402;
  function.SetBusMaster(true);
  EXPECT_EQ(function.command, 0x0406);
  function.SetBusMaster(false);
  EXPECT_EQ(function.command, 0x0402);
}

TEST(PciDeviceTest, BusMasteringThatIsAsWantedIsNotWritten) {
  Function function;
  function.command = 0x0006;
  function.SetBusMaster(true);
  EXPECT_TRUE(function.written.empty());
}

TEST(PciDeviceTest, ACommandRegisterThatNothingAnswersIsNotWritten) {
  Function function;
  function.command = 0xffff;
  function.SetBusMaster(false);
  EXPECT_TRUE(function.written.empty());
}

}  // namespace
}  // namespace pollux::pci
