#include "drivers/pci/pci_bus.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/drivers/pci/sysfs_tree.h"

namespace pollux::pci {
namespace {

using Words = std::vector<std::string>;

class PciBusTest : public testing::Test {
 protected:
  SysfsTree tree_;
  PciBus bus_{tree_};
  const PciAddress nvme_{.bus = 1};

  std::string DriverOf(const PciAddress& address) { return bus_.Find(address)->driver; }
};

TEST_F(PciBusTest, TellsWhatSysfsTells) {
  tree_.AddNvme();
  tree_.AddFunction("0000:02:00.0", "0x020000");
  const std::vector<PciFunction> functions = bus_.List();
  ASSERT_EQ(functions.size(), 2u);
  const PciFunction& nvme = functions[0];
  EXPECT_EQ(nvme.address, nvme_);
  EXPECT_EQ(nvme.vendor, 0x1b36);
  EXPECT_EQ(nvme.device, 0x0010);
  EXPECT_EQ(nvme.subsystem_vendor, 0x1af4);
  EXPECT_EQ(nvme.subsystem_device, 0x1100);
  EXPECT_EQ(nvme.class_code, 0x010802u);
  EXPECT_EQ(nvme.revision, 2);
  EXPECT_EQ(nvme.numa_node, -1);
  EXPECT_EQ(nvme.driver, "nvme");
  EXPECT_EQ(nvme.iommu_group, 7);
  EXPECT_FALSE(nvme.no_iommu);
  EXPECT_EQ(nvme.block_devices, Words{"nvme0n1"});
  EXPECT_EQ(nvme.device_nodes,
            (Words{"/dev/nvme0", "/dev/nvme0n1", "/dev/nvme0n1p1", "/dev/nvme0n1p2"}));
  EXPECT_EQ(functions[1].driver, "");
  EXPECT_EQ(functions[1].iommu_group, -1);
  EXPECT_TRUE(functions[1].block_devices.empty());
}

TEST_F(PciBusTest, ABridgeHasWhatIsBehindIt) {
  tree_.AddNvme();
  tree_.MakeFile("/sys/devices/pci0000:00/0000:00:02.0/vendor", "0x1b36\n");
  tree_.MakeLink("/sys/bus/pci/devices/0000:00:02.0", "/sys/devices/pci0000:00/0000:00:02.0");
  EXPECT_EQ(bus_.Find({.device = 2})->block_devices, Words{"nvme0n1"});
}

TEST_F(PciBusTest, ShowsVfioGroupsAndNumaNodes) {
  tree_.AddNvme();
  tree_.MakeFile("/sys/bus/pci/devices/0000:01:00.0/numa_node", "1\n");
  tree_.MakeFile("/dev/vfio/7", "");
  EXPECT_EQ(bus_.Find(nvme_)->numa_node, 1);
  EXPECT_EQ(bus_.Find(nvme_)->device_nodes.back(), "/dev/vfio/7");
  tree_.MakeFile("/sys/kernel/iommu_groups/7/name", "vfio-noiommu\n");
  tree_.MakeFile("/dev/vfio/noiommu-7", "");
  EXPECT_TRUE(bus_.Find(nvme_)->no_iommu);
  EXPECT_EQ(bus_.Find(nvme_)->device_nodes.back(), "/dev/vfio/noiommu-7");
}

TEST_F(PciBusTest, APathOfAMultipathDiskIsThatDisk) {
  tree_.AddDisk("/sys/devices/virtual/nvme-subsystem/nvme-subsys3", "nvme3n2");
  const std::string folder = tree_.AddFunction("0000:01:00.0", "0x010802");
  tree_.AddDisk(folder + "/nvme/nvme5", "nvme3c5n2");
  EXPECT_EQ(bus_.Find(nvme_)->block_devices, Words{"nvme3n2"});
}

TEST_F(PciBusTest, ReadsTheConfigurationSpace) {
  tree_.AddNvme();
  EXPECT_EQ(*bus_.ReadConfig(nvme_), std::string("\x36\x1b\x10\x00", 4));
  EXPECT_EQ(ErrnoOf(bus_.ReadConfig({.bus = 9}).status()), ENODEV);
}

TEST_F(PciBusTest, AMachineWithoutPciHasNoFunctions) {
  EXPECT_TRUE(bus_.List().empty());
  EXPECT_EQ(ErrnoOf(bus_.Find(nvme_).status()), ENODEV);
}

TEST_F(PciBusTest, DamagedAttributesAreZero) {
  tree_.AddNvme();
  for (const char* name : {"device", "class", "numa_node", "revision"}) {
    tree_.MakeFile(std::string("/sys/bus/pci/devices/0000:01:00.0/") + name, "0xzz\n");
  }
  tree_.MakeLink("/sys/bus/pci/devices/nonsense", "/sys/devices/nonsense");
  const std::vector<PciFunction> functions = bus_.List();
  ASSERT_EQ(functions.size(), 1u);
  EXPECT_EQ(functions[0].device, 0);
  EXPECT_EQ(functions[0].class_code, 0u);
  EXPECT_EQ(functions[0].vendor, 0x1b36);
}

// --- Binding.

TEST_F(PciBusTest, BindsToOneDriverAndToNoOther) {
  tree_.AddNvme();
  ASSERT_TRUE(bus_.Bind(nvme_, "vfio-pci").ok());
  EXPECT_EQ(DriverOf(nvme_), "vfio-pci");
  EXPECT_EQ(tree_.written, (Words{"driver_override=vfio-pci", "unbind=0000:01:00.0",
                                  "drivers_probe=0000:01:00.0"}));
  ASSERT_TRUE(bus_.Bind(nvme_, "vfio-pci").ok());
  EXPECT_EQ(tree_.written.size(), 3u);  // It was there already.
}

TEST_F(PciBusTest, RestoresTheKernelsOwnChoice) {
  tree_.AddNvme();
  ASSERT_TRUE(bus_.Bind(nvme_, "vfio-pci").ok());
  ASSERT_TRUE(bus_.Restore(nvme_).ok());
  EXPECT_EQ(DriverOf(nvme_), "nvme");
  EXPECT_EQ(tree_.Read("/sys/bus/pci/devices/0000:01:00.0/driver_override"), "(null)");
}

TEST_F(PciBusTest, UnboundItHasNoDriver) {
  tree_.AddNvme();
  ASSERT_TRUE(bus_.Unbind(nvme_).ok());
  EXPECT_EQ(DriverOf(nvme_), "");
  ASSERT_TRUE(bus_.Unbind(nvme_).ok());
  tree_.driver_fails = {"nvme"};
  EXPECT_EQ(ErrnoOf(bus_.Restore(nvme_)), ENOENT);
}

TEST_F(PciBusTest, WhatTheNewDriverDoesNotTakeGoesBack) {
  tree_.AddNvme();
  tree_.driver_fails = {"vfio-pci"};
  EXPECT_EQ(bus_.Bind(nvme_, "vfio-pci").message(),
            "driver vfio-pci does not take 0000:01:00.0; the kernel's log may say why");
  EXPECT_EQ(DriverOf(nvme_), "nvme");
  EXPECT_EQ(tree_.Read("/sys/bus/pci/devices/0000:01:00.0/driver_override"), "(null)");
}

TEST_F(PciBusTest, ARefusedWriteGoesBackAsWell) {
  for (const char* write :
       {"driver_override=vfio-pci", "unbind=0000:01:00.0", "drivers_probe=0000:01:00.0"}) {
    SysfsTree tree;
    tree.AddNvme();
    tree.refuses = write;
    const PciBus bus(tree);
    EXPECT_EQ(ErrnoOf(bus.Bind(nvme_, "vfio-pci")), EPERM) << write;
    EXPECT_EQ(bus.Find(nvme_)->driver, "nvme") << write;
    EXPECT_EQ(tree.Read("/sys/bus/pci/devices/0000:01:00.0/driver_override"), "(null)") << write;
  }
}

TEST_F(PciBusTest, ADriverMustBeLoadedAndHaveAName) {
  tree_.AddNvme();
  EXPECT_EQ(bus_.Bind(nvme_, "uio_pci_generic").message(),
            "driver uio_pci_generic is not loaded: modprobe uio_pci_generic");
  for (const char* name : {"", "..", "../devices", "vfio pci", "vfio-pci\n"}) {
    EXPECT_EQ(ErrnoOf(bus_.Bind(nvme_, name)), EINVAL) << name;
  }
  EXPECT_TRUE(tree_.written.empty());
}

TEST_F(PciBusTest, ABridgeStaysWithTheKernel) {
  tree_.AddDriver("vfio-pci");
  tree_.AddFunction("0000:01:00.0", "0x060400");
  EXPECT_EQ(bus_.Bind(nvme_, "vfio-pci").message(),
            "0000:01:00.0 is a bridge: it stays with the kernel");
}

TEST_F(PciBusTest, WithoutAnIommuVfioSaysWhatIsMissing) {
  tree_.AddDriver("vfio-pci");
  tree_.AddFunction("0000:01:00.0", "0x010802");
  tree_.driver_fails = {"vfio-pci"};
  EXPECT_NE(bus_.Bind(nvme_, "vfio-pci").message().find("intel_iommu=on"), std::string::npos);
}

TEST_F(PciBusTest, ResetsWhatTheKernelCanReset) {
  tree_.AddNvme();
  ASSERT_TRUE(bus_.Reset(nvme_).ok());
  EXPECT_EQ(tree_.written, Words{"reset=1"});
  std::filesystem::remove(tree_.Path("/sys/bus/pci/devices/0000:01:00.0/reset"));
  EXPECT_EQ(ErrnoOf(bus_.Reset(nvme_)), ENOTSUP);
}

TEST_F(PciBusTest, NamesWhatKeepsVfioFromAGroup) {
  tree_.AddNvme();
  tree_.AddDriver("e1000e");
  tree_.AddFunction("0000:01:00.1", "0x020000");
  tree_.SetGroup("0000:01:00.1", "7");
  EXPECT_EQ(bus_.GroupObstacles(7), Words{"0000:01:00.0 (driver nvme)"});
  tree_.SetDriver("0000:01:00.0", "vfio-pci");
  tree_.SetDriver("0000:01:00.1", "e1000e");
  EXPECT_EQ(bus_.GroupObstacles(7), Words{"0000:01:00.1 (driver e1000e)"});
  tree_.SetDriver("0000:01:00.1", "");
  EXPECT_TRUE(bus_.GroupObstacles(7).empty());
}

}  // namespace
}  // namespace pollux::pci
