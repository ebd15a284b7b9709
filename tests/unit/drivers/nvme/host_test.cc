// What nvme.h offers before there is a controller: a host, its memory, and what the bus holds.
#include "drivers/nvme/host.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "core/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/models/nvme_model_device.h"
#include "tests/unit/drivers/pci/sysfs_tree.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kPage = 4096;

class NvmeHostTest : public testing::Test {
 protected:
  NvmeHostTest() {
    options_.memory_bytes = 4 << 20;
    options_.hugepages = POLLUX_NVME_HUGEPAGES_OFF;
  }
  ~NvmeHostTest() override { pollux_nvme_host_destroy(host_); }
  void Create() { ASSERT_EQ(pollux_nvme_host_create(&options_, &host_), 0) << Text(); }
  static std::string Text() { return pollux_nvme_error_text(); }

  pollux_nvme_host_options options_{};
  pollux_nvme_host* host_ = nullptr;
};

TEST_F(NvmeHostTest, IsMadeWithMemoryOfItsOwn) {
  Create();
  EXPECT_EQ(host_->arena().total_bytes(), size_t{4 << 20});
  void* const data = pollux_nvme_alloc(host_, 8192, kPage);
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kPage, 0u);
  pollux_nvme_free(host_, data);
  pollux_nvme_free(host_, nullptr);
  EXPECT_EQ(host_->arena().free_bytes(), host_->arena().total_bytes());
}

TEST_F(NvmeHostTest, HasAtLeastOneHugepage) {
  options_.memory_bytes = 1;
  Create();
  EXPECT_EQ(host_->arena().total_bytes(), size_t{2 << 20});
}

TEST_F(NvmeHostTest, SaysWhyThereIsNoMemory) {
  Create();
  EXPECT_EQ(pollux_nvme_alloc(host_, 64 << 20, kPage), nullptr);
  EXPECT_THAT(Text(), HasSubstr("no DMA-able memory for 67108864 bytes"));
  EXPECT_EQ(pollux_nvme_alloc(host_, 64, 63), nullptr);
  EXPECT_THAT(Text(), HasSubstr("power of two"));
}

TEST_F(NvmeHostTest, HugepagesThatAreWantedAndNotThereAreAnError) {
  options_.memory_bytes = size_t{1} << 50;
  options_.hugepages = POLLUX_NVME_HUGEPAGES_ON;
  EXPECT_LT(pollux_nvme_host_create(&options_, &host_), 0);
  EXPECT_EQ(host_, nullptr);
  EXPECT_NE(Text(), "");
}

// --- Memory of the caller's.

class RegisteredMemoryTest : public NvmeHostTest {
 protected:
  RegisteredMemoryTest() {
    Create();
    EXPECT_EQ(ftruncate(file_.get(), 8 * kPage), 0);
    memory_ = static_cast<std::byte*>(
        mmap(nullptr, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
  }
  ~RegisteredMemoryTest() override { munmap(memory_, 8 * kPage); }
  int Register(size_t offset, size_t bytes) {
    return pollux_nvme_register_memory(host_, memory_ + offset, bytes, file_.get(), offset);
  }

  const UniqueFd file_{memfd_create("callers", MFD_CLOEXEC)};
  std::byte* memory_ = nullptr;
};

TEST_F(RegisteredMemoryTest, IsReachedByDevicesNowAndLater) {
  models::NvmeModelDevice before({}, host_->registry());
  ASSERT_EQ(Register(0, 2 * kPage), 0) << Text();
  models::NvmeModelDevice after({}, host_->registry());
  for (pci::PciDevice* device :
       {static_cast<pci::PciDevice*>(&before), static_cast<pci::PciDevice*>(&after)}) {
    pci::DmaView view(device->dma());
    EXPECT_GE(view.Translate(memory_ + kPage).bytes, kPage);
    EXPECT_EQ(view.Translate(memory_ + 2 * kPage).bytes, 0u);
  }
  EXPECT_EQ(pollux_nvme_unregister_memory(host_, memory_), 0);
  pci::DmaView view(after.dma());
  EXPECT_EQ(view.Translate(memory_ + kPage).bytes, 0u);
}

TEST_F(RegisteredMemoryTest, IsOfWholePages) {
  EXPECT_EQ(Register(0, kPage - 1), -EINVAL);
  EXPECT_EQ(Register(64, kPage), -EINVAL);
  EXPECT_EQ(Register(0, 0), -EINVAL);
  EXPECT_EQ(pollux_nvme_register_memory(host_, nullptr, kPage, -1, 0), -EINVAL);
  EXPECT_EQ(pollux_nvme_register_memory(host_, memory_, kPage, file_.get(), 1), -EINVAL);
  EXPECT_EQ(pollux_nvme_register_memory(host_, memory_, size_t{0} - kPage, -1, 0), -EINVAL);
}

TEST_F(RegisteredMemoryTest, DoesNotOverlap) {
  ASSERT_EQ(Register(kPage, 2 * kPage), 0);
  EXPECT_EQ(Register(kPage, 2 * kPage), -EEXIST);
  EXPECT_EQ(Register(0, 2 * kPage), -EEXIST);
  EXPECT_EQ(Register(2 * kPage, 4 * kPage), -EEXIST);
  EXPECT_EQ(Register(0, kPage), 0);
  EXPECT_EQ(Register(3 * kPage, kPage), 0);
}

TEST_F(RegisteredMemoryTest, IsTakenBackOnceAndByItsBeginning) {
  ASSERT_EQ(Register(0, 2 * kPage), 0);
  EXPECT_EQ(pollux_nvme_unregister_memory(host_, memory_ + kPage), -ENOENT);
  EXPECT_EQ(pollux_nvme_unregister_memory(host_, memory_), 0);
  EXPECT_EQ(pollux_nvme_unregister_memory(host_, memory_), -ENOENT);
  // The driver's own is nobody else's to take back.
  void* const own = pollux_nvme_alloc(host_, kPage, kPage);
  EXPECT_EQ(pollux_nvme_unregister_memory(host_, own), -ENOENT);
  pollux_nvme_free(host_, own);
}

TEST_F(RegisteredMemoryTest, MayBeLeftToTheHostsEnd) { ASSERT_EQ(Register(0, kPage), 0); }

// --- The bus.

class ProbeTest : public testing::Test {
 protected:
  std::vector<std::string> Probe(size_t most = SIZE_MAX) {
    struct Found {
      std::vector<std::string> addresses;
      std::vector<pollux_nvme_probe_info> infos;
      size_t most;
    } all{{}, {}, most};
    NvmeHost::Parts parts;
    parts.registry = &registry_;
    parts.files = tree_;
    pollux_nvme_host host(std::move(parts));
    const int calls = pollux_nvme_probe(
        &host,
        [](void* context, const pollux_nvme_probe_info* info) {
          auto& found = *static_cast<Found*>(context);
          found.addresses.push_back(info->id.traddr);
          found.infos.push_back(*info);
          return found.addresses.size() < found.most;
        },
        &all);
    EXPECT_EQ(calls, static_cast<int>(all.addresses.size()));
    infos_ = all.infos;
    return all.addresses;
  }

  pci::SysfsTree tree_;
  RegionRegistry registry_;
  std::vector<pollux_nvme_probe_info> infos_;
};

TEST_F(ProbeTest, FindsControllersAndNothingElse) {
  tree_.AddFunction("0000:03:00.0", "0x010802");
  tree_.AddFunction("0000:01:00.0", "0x010802");
  tree_.AddFunction("0000:02:00.0", "0x020000");  // A network card.
  tree_.AddFunction("0000:04:00.0", "0x010601");  // An AHCI controller.
  EXPECT_THAT(Probe(), ElementsAre("0000:01:00.0", "0000:03:00.0"));
  EXPECT_EQ(infos_[0].id.trtype, POLLUX_NVME_TRANSPORT_PCIE);
  EXPECT_EQ(infos_[0].vendor, 0x1b36);
  EXPECT_EQ(infos_[0].device, 0x0010);
  EXPECT_EQ(infos_[0].subsystem_vendor, 0x1af4);
  EXPECT_EQ(infos_[0].subsystem_device, 0x1100);
  EXPECT_EQ(infos_[0].numa_node, -1);
  EXPECT_STREQ(infos_[0].driver, "");
}

TEST_F(ProbeTest, EndsWhenTheCallerHasEnough) {
  for (const char* address : {"0000:01:00.0", "0000:02:00.0", "0000:03:00.0"}) {
    tree_.AddFunction(address, "0x010802");
  }
  EXPECT_THAT(Probe(2), ElementsAre("0000:01:00.0", "0000:02:00.0"));
}

TEST_F(ProbeTest, FindsNothingWhereThereIsNoBus) { EXPECT_THAT(Probe(), testing::IsEmpty()); }

}  // namespace
}  // namespace pollux::nvme
