#include "drivers/pci/device_use.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>

#include "drivers/pci/pci_bus.h"
#include "tests/unit/drivers/pci/sysfs_tree.h"

namespace pollux::pci {
namespace {

class DeviceUseTest : public testing::Test {
 protected:
  void SetUp() override { tree_.AddNvme(); }

  // Why the function is in use, without the beginning that all have; or "idle".
  std::string Use() {
    const PciFunction function = *PciBus(tree_).Find(nvme_);
    const Result<IdleProof> proof = ProveIdle(tree_, nvme_, function.device_nodes);
    if (proof.ok()) return "idle";
    EXPECT_EQ(ErrnoOf(proof.status()), EBUSY);
    const std::string text(proof.status().message());
    const std::string begin = "0000:01:00.0 is in use: ";
    EXPECT_EQ(text.substr(0, begin.size()), begin);
    return text.substr(begin.size());
  }
  void Mount(const std::string& number, const std::string& point, const std::string& source) {
    mounts_ +=
        "36 35 " + number + " / " + point + " rw,noatime shared:1 - ext4 " + source + " rw\n";
    tree_.MakeFile("/proc/self/mountinfo", mounts_);
  }

  SysfsTree tree_;
  const PciAddress nvme_{.bus = 1};
  std::string mounts_ = "22 1 0:21 / /sys rw - sysfs sysfs rw\n";
};

TEST_F(DeviceUseTest, ADiskThatNobodyUsesIsIdle) {
  Mount("8:1", "/home", "/dev/sda1");
  tree_.MakeFile("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 8 0 -2\n");
  EXPECT_EQ(Use(), "idle");
}

TEST_F(DeviceUseTest, NamesTheMountPoint) {
  Mount(tree_.NumberOf("nvme0n1p2"), "/srv/data", "/dev/root");
  EXPECT_EQ(Use(), "/dev/nvme0n1p2 is mounted at /srv/data");
}

TEST_F(DeviceUseTest, AWholeDiskMayBeMountedToo) {
  Mount(tree_.NumberOf("nvme0n1"), R"(/mnt/with\040blank)", "/dev/nvme0n1");
  EXPECT_EQ(Use(), "/dev/nvme0n1 is mounted at /mnt/with blank");
}

TEST_F(DeviceUseTest, AFileSystemWithItsOwnNumberIsKnownByItsSource) {
  Mount("0:43", "/btrfs", "/dev/nvme0n1p1");
  EXPECT_EQ(Use(), "/dev/nvme0n1p1 is mounted at /btrfs");
}

TEST_F(DeviceUseTest, FollowsHoldersToTheMountPoint) {
  tree_.AddHolder("nvme0n1p2", "dm-0", "luks");
  tree_.AddHolder("dm-0", "dm-1", "vg-root");
  EXPECT_EQ(Use(),
            "/dev/nvme0n1p2 is part of /dev/dm-0 (luks); "
            "/dev/dm-0 (luks) on /dev/nvme0n1p2 is part of /dev/dm-1 (vg-root)");
  Mount(tree_.NumberOf("dm-1"), "/", "/dev/mapper/vg-root");
  EXPECT_EQ(Use(), "/dev/dm-1 (vg-root) on /dev/dm-0 (luks) on /dev/nvme0n1p2 is mounted at /");
}

TEST_F(DeviceUseTest, ARaidMemberIsInUse) {
  tree_.AddHolder("nvme0n1", "md127");
  EXPECT_EQ(Use(), "/dev/nvme0n1 is part of /dev/md127");
}

TEST_F(DeviceUseTest, HoldersInACircleEnd) {
  tree_.AddHolder("nvme0n1", "dm-0");
  tree_.MakeLink("/sys/devices/virtual/block/dm-0/holders/dm-0", "/sys/devices/virtual/block/dm-0");
  EXPECT_EQ(Use().find("/dev/nvme0n1 is part of /dev/dm-0"), 0u);
}

TEST_F(DeviceUseTest, SwapIsInUse) {
  tree_.MakeFile("/proc/swaps",
                 "Filename\t\t\tType\tSize\n/dev/nvme0n1p1      partition\t8191\t0\t-2\n");
  EXPECT_EQ(Use(), "/dev/nvme0n1p1 is used as swap");
}

TEST_F(DeviceUseTest, NamesTheProcessThatHasItOpen) {
  tree_.MakeFile("/proc/321/comm", "qemu-system-x86\n");
  tree_.MakeLooseLink("/proc/321/fd/17", "/dev/nvme0n1");
  tree_.MakeLooseLink("/proc/321/fd/18", "/dev/nvme0n1p1");
  EXPECT_EQ(Use(), "/dev/nvme0n1 is open in process 321 (qemu-system-x86)");
}

TEST_F(DeviceUseTest, AnOpenVfioGroupIsInUse) {
  tree_.SetDriver("0000:01:00.0", "vfio-pci");
  tree_.MakeFile("/dev/vfio/7", "");
  tree_.MakeFile("/proc/9/comm", "polluxd\n");
  tree_.MakeLooseLink("/proc/9/fd/3", "/dev/vfio/7");
  EXPECT_EQ(Use(), "/dev/vfio/7 is open in process 9 (polluxd)");
}

TEST_F(DeviceUseTest, ANetworkInterfaceThatIsUpIsInUse) {
  const std::string folder = tree_.Resolve("/sys/bus/pci/devices/0000:01:00.0") + "/net/eth7";
  tree_.MakeFile(folder + "/flags", "0x1003\n");
  tree_.MakeLink("/sys/class/net/eth7", folder);
  EXPECT_EQ(Use(), "network interface eth7 is up");
  tree_.MakeFile(folder + "/flags", "0x1002\n");
  EXPECT_EQ(Use(), "idle");
}

TEST_F(DeviceUseTest, AMessageHasAnEnd) {
  for (int i = 0; i < 50; ++i) Mount("259:0", "/mnt/" + std::to_string(i), "x");
  EXPECT_EQ(Use().substr(Use().size() - 10), "; and more");
}

TEST_F(DeviceUseTest, DamagedTablesAreRead) {
  for (const char* text :
       {"", "\n\n", "-", "1 2 259:0", "1 2 259:0 / /mnt rw -", "1 2 259:0 / /mnt rw - ext4",
        "- - - - - - - -", R"(1 2 9:9 / \0 rw - ext4 \04 rw)"}) {
    tree_.MakeFile("/proc/self/mountinfo", text);
    tree_.MakeFile("/proc/swaps", text);
    EXPECT_EQ(Use(), "idle") << text;
  }
}

TEST_F(DeviceUseTest, NothingIsBoundResetOrUnboundWhileItIsInUse) {
  Mount(tree_.NumberOf("nvme0n1p1"), "/", "/dev/root");
  const PciBus bus(tree_);
  EXPECT_EQ(bus.Bind(nvme_, "vfio-pci").message(),
            "0000:01:00.0 is in use: /dev/nvme0n1p1 is mounted at /");
  EXPECT_EQ(ErrnoOf(bus.Unbind(nvme_)), EBUSY);
  EXPECT_EQ(ErrnoOf(bus.Restore(nvme_)), EBUSY);
  EXPECT_EQ(ErrnoOf(bus.Reset(nvme_)), EBUSY);
  EXPECT_TRUE(tree_.written.empty());
}

// Needs loop devices: the kernel's own word about who holds a block device.
TEST_F(DeviceUseTest, AClaimThatNoTableShowsIsFound) {
  const UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  const int number = control.valid() ? ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
  if (number < 0) GTEST_SKIP() << "no loop devices";
  tree_.MakeFile("/backing", std::string(1 << 20, '\0'));
  const UniqueFd backing(open(tree_.Path("/backing").c_str(), O_RDWR | O_CLOEXEC));
  const std::string loop = "/dev/loop" + std::to_string(number);
  UniqueFd device(open(loop.c_str(), O_RDWR | O_CLOEXEC));
  loop_config config{};
  config.fd = static_cast<uint32_t>(backing.get());
  if (!device.valid() || ioctl(device.get(), LOOP_CONFIGURE, &config) != 0) {
    GTEST_SKIP() << "no loop devices";
  }
  std::filesystem::remove(tree_.Path("/dev/nvme0n1"));
  tree_.MakeLooseLink("/dev/nvme0n1", loop);

  UniqueFd claim(open(loop.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  EXPECT_EQ(Use(), "/dev/nvme0n1 is in exclusive use");
  claim.Reset();
  {
    const Result<IdleProof> proof = ProveIdle(tree_, nvme_, {});
    ASSERT_TRUE(proof.ok());
    EXPECT_LT(open(loop.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC), 0);  // Nobody else gets it now.
  }
  EXPECT_EQ(Use(), "idle");
  ioctl(device.get(), LOOP_CLR_FD);
}

TEST(UnescapeMountTest, UndoesOctalOnly) {
  EXPECT_EQ(UnescapeMount(R"(a\040b\011\134)"), "a b\t\\");
  EXPECT_EQ(UnescapeMount(R"(\)"), "\\");
  EXPECT_EQ(UnescapeMount(R"(\04)"), "\\04");
  EXPECT_EQ(UnescapeMount(R"(\0x0)"), "\\0x0");
}

}  // namespace
}  // namespace pollux::pci
