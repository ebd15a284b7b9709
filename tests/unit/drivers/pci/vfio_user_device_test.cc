// The device at a vfio-user socket, against our own server.
#include "drivers/pci/vfio_user_device.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <thread>
#include <vector>

#include "core/mmio.h"
#include "tests/unit/drivers/pci/vfio_user_fixture.h"

namespace pollux::pci {
namespace {

using testing::HasSubstr;
using vfio_user::kIntx;
using vfio_user::kMsi;
using vfio_user::kMsix;

class VfioUserDeviceTest : public testing::Test {
 protected:
  std::unique_ptr<PciDevice> Open() {
    auto device = VfioUserDevice::Open(directory_.path(), registry_);
    EXPECT_TRUE(device.ok()) << device.status();
    return device.ok() ? *std::move(device) : nullptr;
  }
  static bool Readable(int fd, int timeout_ms = 0) {
    pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&state, 1, timeout_ms) == 1;
  }
  vfio_user::ScratchDevice& device() { return served_->device(); }

  static constexpr int kLongMs = 20'000;  // For what does happen.
  TemporaryDirectory directory_;
  RegionRegistry registry_;
  std::unique_ptr<ServedScratch> served_ = std::make_unique<ServedScratch>(directory_ / "cntrl");
};

TEST_F(VfioUserDeviceTest, IsFoundByDirectoryAndBySocket) {
  EXPECT_EQ(Open()->name(), directory_.path());
  const std::string path = directory_ / "cntrl";
  auto device = VfioUserDevice::Open(path, registry_);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->name(), path);
  EXPECT_EQ((*device)->numa_node(), -1);
}

TEST_F(VfioUserDeviceTest, ReadsAndWritesTheConfigurationSpace) {
  const auto pci = Open();
  EXPECT_EQ(pci->ReadConfig(0, 4), 0x56781234u);
  EXPECT_EQ(pci->ReadConfig(2, 2), 0x5678u);
  EXPECT_EQ(pci->ReadConfig(11, 1), 0x01u);
  pci->WriteConfig(0x3c, 1, 0xabcd);
  EXPECT_EQ(pci->ReadConfig(0x3c, 4), 0xcdu);
  pci->SetBusMaster(true);
  EXPECT_EQ(pci->ReadConfig(4, 2), 0x0004u);
}

TEST_F(VfioUserDeviceTest, WhatLiesBeyondReadsAsOnes) {
  const auto pci = Open();
  EXPECT_EQ(pci->ReadConfig(256, 4), 0xffffffffu);
  EXPECT_EQ(pci->ReadConfig(255, 2), 0xffffu);
  EXPECT_EQ(pci->ReadConfig(0xffffffff, 1), 0xffu);
  EXPECT_EQ(pci->Read32(0, 16384), 0xffffffffu);
  EXPECT_EQ(pci->Read64(0, 16380), ~uint64_t{0});
  EXPECT_EQ(pci->Read32(1, 0), 0xffffffffu);
  EXPECT_EQ(pci->Read32(-1, 0), 0xffffffffu);
  EXPECT_EQ(pci->Read32(6, 0), 0xffffffffu);
  pci->Write32(0, ~uint64_t{0}, 1);
  pci->Write64(1, 0, 1);
  pci->WriteConfig(256, 4, 1);
  EXPECT_TRUE(pci->gone().ok());
}

TEST_F(VfioUserDeviceTest, KnowsItsBars) {
  const auto pci = Open();
  EXPECT_EQ(pci->bar_bytes(0), 16384u);
  EXPECT_EQ(pci->bar_bytes(1), 0u);
  EXPECT_EQ(pci->bar_bytes(4), 16384u);
  EXPECT_EQ(pci->bar_bytes(6), 0u);
  EXPECT_EQ(pci->bar_bytes(-1), 0u);
}

TEST_F(VfioUserDeviceTest, ReachesRegistersByMessagesAndThroughMappings) {
  const auto pci = Open();
  for (const uint64_t offset : {0u, 4096u, 8192u}) {
    pci->Write32(0, offset, 0x01020304);
    EXPECT_EQ(pci->Read32(0, offset), 0x01020304u);
    pci->Write64(0, offset + 8, 0x1122334455667788);
    EXPECT_EQ(pci->Read64(0, offset + 8), 0x1122334455667788u);
    uint32_t there = 0;
    served_->OnLoop([&] { std::memcpy(&there, device().Place(0, offset), 4); });
    EXPECT_EQ(there, 0x01020304u);
    pci->Write16(0, offset + 2, 0xa1b2);
    pci->Write8(0, offset + 1, 0xc3);
    EXPECT_EQ(pci->Read32(0, offset), 0xa1b2c304u);
    EXPECT_EQ(pci->Read16(0, offset + 2), 0xa1b2u);
    EXPECT_EQ(pci->Read8(0, offset + 3), 0xa1u);
  }
  int messages = 0;
  served_->OnLoop([&] { messages = device().writes; });
  EXPECT_EQ(messages, 8);  // Those to the page at 4096 took none.
}

TEST_F(VfioUserDeviceTest, MapsWhatTheServerOffers) {
  const auto pci = Open();
  EXPECT_EQ(pci->MapBar(0, 0, 4), nullptr);
  EXPECT_EQ(pci->MapBar(0, 4095, 4), nullptr);
  EXPECT_EQ(pci->MapBar(0, 8190, 4), nullptr);
  EXPECT_EQ(pci->MapBar(2, 0, 4), nullptr);
  EXPECT_EQ(pci->MapBar(4, 4096, 4), nullptr);
  for (const auto& [bar, offset] : {std::pair(0, 4096u), std::pair(4, 0u), std::pair(4, 8192u)}) {
    std::byte* const page = pci->MapBar(bar, offset, 4096);
    ASSERT_NE(page, nullptr);
    MmioWrite<uint32_t>(page + 8, 77);
    uint32_t there = 0;
    served_->OnLoop([&] { std::memcpy(&there, device().Place(bar, offset + 8), 4); });
    EXPECT_EQ(there, 77u);
  }
}

TEST_F(VfioUserDeviceTest, SharesTheRegistrysMemory) {
  const SharedMemory early(8192), late(4096);
  ASSERT_TRUE(registry_.Add(early.region("early")).ok());
  auto pci = Open();
  ASSERT_TRUE(registry_.Add(late.region("late")).ok());
  DmaView view(pci->dma());
  for (const SharedMemory* memory : {&early, &late}) {
    view.Refresh();
    const DmaView::Piece piece = view.Translate(memory->address() + 100);
    EXPECT_GT(piece.bytes, 3000u);
    served_->OnLoop([&] {
      std::byte* const there = served_->server().Memory(piece.iova, 4, /*write=*/true);
      ASSERT_NE(there, nullptr);
      std::memcpy(there, "abcd", 4);
    });
    EXPECT_EQ(std::memcmp(memory->address() + 100, "abcd", 4), 0);
  }
  registry_.Remove(early.address());
  const auto iova = reinterpret_cast<uintptr_t>(early.address());
  served_->OnLoop([&] { EXPECT_EQ(served_->server().Memory(iova, 1, false), nullptr); });
}

TEST_F(VfioUserDeviceTest, UnmapsAllWhenItGoes) {
  const SharedMemory memory(4096);
  ASSERT_TRUE(registry_.Add(memory.region()).ok());
  Open().reset();
  std::vector<std::string> log;
  const std::string iova = std::to_string(reinterpret_cast<uintptr_t>(memory.address()));
  served_->OnLoop([&] { log = device().log; });
  EXPECT_THAT(log, testing::Contains("unmap " + iova));
  registry_.Remove(memory.address());
}

TEST_F(VfioUserDeviceTest, RefusesMemoryWithoutAFile) {
  std::byte page[4096];
  const auto pci = Open();
  const Status status = registry_.Add({.address = page, .bytes = 4096, .name = "stack"});
  EXPECT_EQ(ErrnoOf(status), ENOTSUP);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stack"));
  EXPECT_TRUE(pci->gone().ok());
}

TEST_F(VfioUserDeviceTest, HearsOfMsixVectors) {
  const auto pci = Open();
  EXPECT_EQ(pci->interrupt_vectors(), 4u);
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(pci->SetInterrupt(2, event.get()).ok());
  EXPECT_EQ(pci->ReadConfig(0x42, 2), 0x8003u);  // MSI-X is enabled in the configuration space.
  served_->OnLoop([&] { served_->server().Trigger(kMsix, 2); });
  EXPECT_TRUE(Readable(event.get()));

  uint64_t count;
  ASSERT_EQ(read(event.get(), &count, 8), 8);
  ASSERT_TRUE(pci->SetInterrupt(2, -1).ok());
  EXPECT_EQ(pci->ReadConfig(0x42, 2), 0x0003u);
  served_->OnLoop([&] { served_->server().Trigger(kMsix, 2); });
  EXPECT_FALSE(Readable(event.get()));
  EXPECT_EQ(ErrnoOf(pci->SetInterrupt(4, event.get())), EINVAL);
}

TEST_F(VfioUserDeviceTest, HearsOfMsiWhereThereIsNoMsix) {
  served_.reset();
  served_ = std::make_unique<ServedScratch>(directory_ / "cntrl", kMsi);
  const auto pci = Open();
  EXPECT_EQ(pci->interrupt_vectors(), 2u);
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(pci->SetInterrupt(1, event.get()).ok());
  EXPECT_EQ(pci->ReadConfig(0x42, 2), 0x0001u);
  served_->OnLoop([&] { served_->server().Trigger(kMsi, 1); });
  EXPECT_TRUE(Readable(event.get()));
  pci->UnmaskInterrupt(1);  // Is for INTx, and does nothing here.
  ASSERT_TRUE(pci->SetInterrupt(1, -1).ok());
  EXPECT_EQ(pci->ReadConfig(0x42, 2), 0x0000u);
}

TEST_F(VfioUserDeviceTest, IntxIsMaskedWhenItFiresUntilItIsUnmasked) {
  constexpr uint32_t kInterruptDisable = 1 << 10;
  served_.reset();
  served_ = std::make_unique<ServedScratch>(directory_ / "cntrl", kIntx);
  const auto pci = Open();
  EXPECT_EQ(pci->interrupt_vectors(), 1u);
  pci->WriteConfig(4, 2, kInterruptDisable);
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(pci->SetInterrupt(0, event.get()).ok());
  EXPECT_EQ(pci->ReadConfig(4, 2) & kInterruptDisable, 0u);
  const auto fired = [&event] {
    eventfd_t count = 0;
    return eventfd_read(event.get(), &count) == 0 ? count : 0;
  };
  const auto raise = [&] { served_->OnLoop([&] { served_->server().Trigger(kIntx, 0); }); };
  raise();
  raise();
  EXPECT_EQ(fired(), 1u);
  pci->UnmaskInterrupt(0);
  EXPECT_EQ(fired(), 1u);  // The device still holds it up.
  served_->OnLoop([&] { served_->server().LowerIntx(); });
  pci->UnmaskInterrupt(0);
  EXPECT_EQ(fired(), 0u);
  raise();
  EXPECT_EQ(fired(), 1u);
  ASSERT_TRUE(pci->SetInterrupt(0, -1).ok());
  EXPECT_NE(pci->ReadConfig(4, 2) & kInterruptDisable, 0u);
}

TEST_F(VfioUserDeviceTest, OwnersOfQueuesWriteDoorbellsWhileTheControlThreadReads) {
  constexpr int kTimes = 500;
  const auto pci = Open();
  std::vector<std::thread> owners;
  for (uint64_t owner = 1; owner <= 2; ++owner) {
    owners.emplace_back([&pci, owner] {
      for (uint32_t i = 1; i <= kTimes; ++i) pci->Write32(0, 8 * owner, i);
    });
  }
  for (int i = 0; i < kTimes; ++i) ASSERT_EQ(pci->ReadConfig(0, 4), 0x56781234u);
  for (std::thread& owner : owners) owner.join();
  EXPECT_TRUE(pci->gone().ok()) << pci->gone();
  EXPECT_EQ(pci->Read32(0, 8), uint32_t{kTimes});
  EXPECT_EQ(pci->Read32(0, 16), uint32_t{kTimes});
}

TEST_F(VfioUserDeviceTest, ResetReachesTheDeviceAndKeepsWhatWasSet) {
  const auto pci = Open();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  pci->SetBusMaster(true);
  ASSERT_TRUE(pci->SetInterrupt(0, event.get()).ok());
  ASSERT_TRUE(pci->Reset().ok());
  EXPECT_EQ(pci->ReadConfig(4, 2), 0x0004u);
  EXPECT_EQ(pci->ReadConfig(0x42, 2), 0x8003u);
  served_->OnLoop([&] {
    EXPECT_THAT(device().log, testing::Contains("reset"));
    served_->server().Trigger(kMsix, 0);
  });
  EXPECT_TRUE(Readable(event.get()));
}

TEST_F(VfioUserDeviceTest, TheServersErrorCostsTheAccessOnly) {
  const auto pci = Open();
  served_->OnLoop([&] { device().error = EIO; });
  EXPECT_EQ(pci->Read32(0, 0), 0xffffffffu);
  EXPECT_EQ(pci->ReadConfig(0, 2), 0xffffu);
  served_->OnLoop([&] { device().error = 0; });
  EXPECT_EQ(pci->ReadConfig(0, 2), 0x1234u);
  EXPECT_TRUE(pci->gone().ok());
}

TEST_F(VfioUserDeviceTest, IsGoneWhenItsServerCloses) {
  const SharedMemory memory(4096);
  ASSERT_TRUE(registry_.Add(memory.region()).ok());
  auto pci = Open();
  EXPECT_TRUE(pci->gone().ok());
  EXPECT_FALSE(Readable(pci->removal_fd()));
  std::byte* const page = pci->MapBar(0, 4096, 4096);
  served_->Close();
  EXPECT_TRUE(Readable(pci->removal_fd(), kLongMs));
  EXPECT_EQ(ErrnoOf(pci->gone()), ENODEV);
  EXPECT_EQ(pci->Read32(0, 0), 0xffffffffu);
  EXPECT_EQ(pci->Read32(0, 4096), 0xffffffffu);
  EXPECT_EQ(pci->ReadConfig(0, 4), 0xffffffffu);
  pci->Write32(0, 0, 1);
  MmioWrite<uint32_t>(page, 1);  // Who does not know yet rings on.
  EXPECT_EQ(ErrnoOf(pci->SetInterrupt(0, -1)), ENODEV);
  EXPECT_EQ(ErrnoOf(pci->Reset()), ENODEV);
  registry_.Remove(memory.address());
}

TEST_F(VfioUserDeviceTest, SaysWhyThereIsNobody) {
  served_->Close();
  const auto device = VfioUserDevice::Open(directory_.path(), registry_);
  EXPECT_EQ(ErrnoOf(device.status()), ENOENT);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr(directory_ / "cntrl"));
  EXPECT_EQ(ErrnoOf(VfioUserDevice::Open(std::string(200, 'x'), registry_).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(VfioUserDevice::Open("", registry_).status()), EINVAL);
}

TEST_F(VfioUserDeviceTest, ASecondClientWaitsUntilTheFirstIsGone) {
  auto first = Open();
  const auto second = VfioUserDevice::Open(directory_.path(), registry_, 50 * kNsPerMs);
  EXPECT_EQ(ErrnoOf(second.status()), ETIMEDOUT);
  EXPECT_TRUE(first->gone().ok());
  first.reset();
  EXPECT_NE(Open(), nullptr);
}

}  // namespace
}  // namespace pollux::pci
