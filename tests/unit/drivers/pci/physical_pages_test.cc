#include "drivers/pci/physical_pages.h"

#include <gtest/gtest.h>

#include <string>

namespace pollux::pci {
namespace {

constexpr std::string_view kSmaps =
    "55d000000000-55d000001000 r--p 00000000 fe:01 131 /usr/bin/polluxd\n"
    "Size:                  4 kB\n"
    "KernelPageSize:        4 kB\n"
    "VmFlags: rd mr mw me sd \n"
    "7f0000000000-7f0000400000 rw-s 00000000 00:0f 17 /dev/hugepages/rtemap_0\n"
    "Size:               4096 kB\n"
    "KernelPageSize:     2048 kB\n"
    "MMUPageSize:        2048 kB\n"
    "VmFlags: rd wr sh mr mw me ms de ht sd \n"
    "7f0000400000-7f0000401000 rw-p 00000000 00:00 0 \n"
    "KernelPageSize:        4 kB\n"
    "VmFlags: rd wr mr mw me ac sd \n";

TEST(PhysicalPagesTest, FindsTheKindOfPagesAtAnAddress) {
  EXPECT_EQ(FindPageKind(kSmaps, 0x55d000000000).page_bytes, 4096u);
  EXPECT_FALSE(FindPageKind(kSmaps, 0x55d000000000).huge);
  for (const uintptr_t address : {0x7f0000000000u, 0x7f0000200000u, 0x7f00003fffffu}) {
    EXPECT_EQ(FindPageKind(kSmaps, address).page_bytes, size_t{2} << 20);
    EXPECT_TRUE(FindPageKind(kSmaps, address).huge);
  }
  EXPECT_FALSE(FindPageKind(kSmaps, 0x7f0000400000).huge);
  EXPECT_EQ(FindPageKind(kSmaps, 0x7f0000401000).page_bytes, 0u);
}

TEST(PhysicalPagesTest, ReadsATableThatIsCutAnywhere) {
  for (size_t bytes = 0; bytes < kSmaps.size(); ++bytes) {
    const PageKind kind = FindPageKind(kSmaps.substr(0, bytes), 0x7f0000000000);
    EXPECT_TRUE(!kind.huge || kind.page_bytes == size_t{2} << 20) << bytes;
  }
}

TEST(PhysicalPagesTest, ExplainsWhyOrdinaryMemoryIsRefused) {
  static std::byte memory[4096];
  const Result<DmaMapper::Mapping> mapping = FindPhysicalPages(
      HostFiles(), {.address = memory, .bytes = sizeof(memory), .name = "bdev Malloc0"});
  EXPECT_EQ(ErrnoOf(mapping.status()), ENOTSUP);
  EXPECT_EQ(
      mapping.status().message(),
      "memory region 'bdev Malloc0' is of ordinary pages, which the kernel may move: a device "
      "without an IOMMU can be given hugepages only. Reserve some (vm.nr_hugepages), or use "
      "an IOMMU");
}

}  // namespace
}  // namespace pollux::pci
