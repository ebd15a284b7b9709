// What Linux's ioatdma does with a device, step by step, and the rest of what drivers rely on. The
// numbers of its steps are those of the source: probe, self-tests, error handling, removal.
#include <sys/eventfd.h>

#include <bit>

#include "core/unique_fd.h"
#include "tests/unit/models/ioat_world.h"

namespace pollux::models {
namespace {

using namespace ioat;  // NOLINT: nearly every word here is the device's.

class IoatLinuxTest : public IoatWorld {
 protected:
  static constexpr uint16_t kRun = 0x1d;  // What Linux writes to CHANCTRL.

  IoatLinuxTest() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    options_.steps_when_read = true;  // Linux counts its looks at a register.
  }
  bool TookInterrupt() {
    eventfd_t count = 0;
    return eventfd_read(event_.get(), &count) == 0;
  }
  // ioat_reset_hw().
  void ResetAsLinux() {
    if ((Read(kChansts) & 7) == chansts::kActive || (Read(kChansts) & 7) == chansts::kIdle) {
      Write<uint8_t>(kChancmd, chancmd::kSuspend);
      int looks = 0;
      for (; looks < 100; ++looks) {
        const uint64_t state = Read(kChansts) & 7;
        if (state != chansts::kActive && state != chansts::kIdle) break;
      }
      EXPECT_LT(looks, 100);
    }
    Write<uint32_t>(kChanerr, Read(kChanerr));
    device_->WriteConfig(kChanerrInt, 4, device_->ReadConfig(kChanerrInt, 4));
    Write<uint8_t>(kChancmd, chancmd::kReset);
    int looks = 0;
    while ((Read(kChancmd) & chancmd::kReset) != 0 && looks < 200) ++looks;
    EXPECT_LT(looks, 200);
  }
  void WriteHalves(Reg<uint64_t> reg, uint64_t value) {
    const uint64_t at = ChannelOffset(0) + reg.offset;
    device_->Write32(0, at, static_cast<uint32_t>(value));
    device_->Write32(0, at + 4, static_cast<uint32_t>(value >> 32));
  }
  // ioat_alloc_chan_resources() and the null descriptor of ioat_start_null_desc().
  void StartAsLinux() {
    Write<uint16_t>(kChanctrl, kRun);
    WriteHalves(kChancmp, Iova(Page(1)));
    WriteHalves(kChainaddr, Iova(&ring(0)));
    Put(0, opcode::kCopy, 1, 0, 0, control::kNull | kAnnounced | control::kInterrupt);
    Write<uint16_t>(kDmacount, 1);
    int looks = 0;
    for (; looks < 20; ++looks) {
      const uint64_t state = Read(kChansts) & 7;
      if (state == chansts::kActive || state == chansts::kIdle) break;
    }
    EXPECT_LT(looks, 20);
    model().Run();
    EXPECT_TRUE(TookInterrupt());
    Write<uint16_t>(kChanctrl, kRun);
  }
  void Probe() {
    Power();
    ASSERT_TRUE(device_->SetInterrupt(0, event_.get()).ok());
    ResetAsLinux();
    device_->Write8(0, kIntrctrl.offset, 0x09);
    StartAsLinux();
  }
  // Of six sources, in two descriptors, at place `i`.
  void PutXor(size_t i, uint32_t op, uint32_t bytes, uint32_t bits) {
    XorDescriptor base{};
    base.size = bytes;
    base.control = control::kSourceCount.Set(control::kOpcode.Set(bits, op), 4);
    base.next = ring(i).next;
    XorExtension extension{};
    extension.next = ring(i + 1).next;
    Le64* const places[] = {&base.source1, &base.source2, &base.source3,
                            &base.source4, &base.source5, &extension.source6};
    for (size_t s = 0; s < 6; ++s) *places[s] = Iova(Page(10 + s));
    base.destination = Iova(Page(20));
    ring(i) = std::bit_cast<Descriptor>(base);
    ring(i + 1) = std::bit_cast<Descriptor>(extension);
  }

  const UniqueFd event_;
};

TEST_F(IoatLinuxTest, ProbeCopiesAndMakesParity) {
  Probe();
  EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kIdle);

  // ioat_dma_self_test(): 2000 bytes, with an interrupt.
  for (size_t i = 0; i < 2000; ++i) Page(2)[i] = static_cast<std::byte>(i);
  Put(1, opcode::kCopy, 2000, Iova(Page(2)), Iova(Page(3)), kAnnounced | control::kInterrupt);
  Write<uint16_t>(kDmacount, 2);
  model().Run();
  EXPECT_TRUE(TookInterrupt());
  EXPECT_EQ(written(), Iova(&ring(1)) | chansts::kIdle);
  EXPECT_EQ(std::memcmp(Page(2), Page(3), 2000), 0);
  Write<uint16_t>(kChanctrl, kRun);
  ResetAsLinux();

  // ioat_xor_val_self_test(): six pages; base, extension and null descriptor count three.
  StartAsLinux();
  for (size_t s = 0; s < 6; ++s) std::memset(Page(10 + s), 1 << s, kPage);
  PutXor(1, opcode::kXor, kPage, 0);
  Put(3, opcode::kCopy, 8, 0, 0,
      control::kNull | control::kFence | kAnnounced | control::kInterrupt);
  Write<uint16_t>(kDmacount, 4);
  model().Run();
  EXPECT_TRUE(TookInterrupt());
  EXPECT_EQ(written(), Iova(&ring(3)) | chansts::kIdle);
  for (size_t i = 0; i < kPage; ++i) ASSERT_EQ(Page(20)[i], std::byte{0x3f});
  Write<uint16_t>(kChanctrl, kRun);

  PutXor(4, opcode::kXorValidate, kPage, kAnnounced | control::kInterrupt);
  Write<uint16_t>(kDmacount, 6);
  model().Run();
  EXPECT_TRUE(TookInterrupt());
  EXPECT_EQ(Read(kChanerr), 0u);
  Write<uint16_t>(kChanctrl, kRun);

  // It must fail, by an error interrupt and a status in memory; then the chain is restarted.
  std::memset(Page(20), 0, kPage);
  PutXor(6, opcode::kXorValidate, kPage, kAnnounced | control::kInterrupt);
  PutNull(8);
  Write<uint16_t>(kDmacount, 9);
  model().Run();
  EXPECT_TRUE(TookInterrupt());
  EXPECT_EQ(written(), Iova(&ring(4)) | chansts::kHalted);
  EXPECT_EQ(Read(kChanerr), chanerr::kXorMismatch);
  EXPECT_EQ(device_->ReadConfig(kChanerrInt, 4), chanerr::kXorMismatch);
  Write<uint32_t>(kChanerr, chanerr::kXorMismatch);
  device_->WriteConfig(kChanerrInt, 4, chanerr::kXorMismatch);
  EXPECT_EQ(device_->ReadConfig(kChanerrInt, 4), 0u);
  Write<uint16_t>(kChanctrl, kRun);
  WriteHalves(kChancmp, Iova(Page(1)));
  WriteHalves(kChainaddr, Iova(&ring(8)));
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(written(), Iova(&ring(8)) | chansts::kIdle);

  // ioat_dma_remove().
  ResetAsLinux();
  device_->Write8(0, kIntrctrl.offset, 0);
  EXPECT_EQ(Read(kChansts), chansts::kHalted);
  EXPECT_TRUE(model().complaints().empty());
}

TEST_F(IoatLinuxTest, EachReadOrWriteErrorAbortsAndAResetGoesOn) {
  Probe();
  for (const bool reads : {true, false}) {
    ResetAsLinux();
    StartAsLinux();
    PutCopy(1, 64, 2, 3);
    if (reads) ring(1).source = 0xdead000;
    if (!reads) ring(1).destination = 0xdead000;
    PutCopy(2, 64, 2, 3);
    Write<uint16_t>(kDmacount, 3);
    model().Run();
    EXPECT_TRUE(TookInterrupt());
    EXPECT_EQ(Read(kChanerr), reads ? chanerr::kReadData : chanerr::kWriteData);  // And no other.
    ResetAsLinux();
    EXPECT_EQ(Read(kChanerr), 0u);
    // CHANCMP and CHANCTRL outlive the reset: this path does not write them again.
    EXPECT_EQ(Read(kChancmp), Iova(Page(1)));
    WriteHalves(kChainaddr, Iova(&ring(2)));
    Write<uint16_t>(kDmacount, 1);
    model().Run();
    EXPECT_EQ(written(), Iova(&ring(2)) | chansts::kIdle);
  }
}

TEST_F(IoatLinuxTest, AnErrorInterruptIsForWhoAsksForIt) {
  Probe();
  Write<uint16_t>(kChanctrl, 0x0d);  // Without bit 4.
  model().FailDescriptor(0, 1, chanerr::kLength);
  PutNull(1);
  Write<uint16_t>(kDmacount, 2);
  model().Run();
  EXPECT_FALSE(TookInterrupt());
  EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kHalted);
}

TEST_F(IoatLinuxTest, InterruptControlHasTwoBitsForTheHostAndTwoForTheDevice) {
  Power();
  device_->Write8(0, kIntrctrl.offset, 0xff);
  EXPECT_EQ(device_->Read8(0, kIntrctrl.offset), 0x09);
  device_->Write8(0, kIntrctrl.offset, 0x00);
  EXPECT_EQ(device_->Read8(0, kIntrctrl.offset), 0x00);
  // With the master enable off, a cause is seen there and is no interrupt.
  Arm();
  Put(0, opcode::kCopy, 1, 0, 0, control::kNull | control::kInterrupt);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(device_->Read8(0, kIntrctrl.offset), 0x02);
}

TEST_F(IoatLinuxTest, HasNoDirectCacheAccessAndIsCompatibleWithVersion2) {
  Power();
  EXPECT_EQ(device_->Read16(0, kDcaoffset.offset), 0);
  EXPECT_EQ(Read(kDmaComp) & 2, 2);
  device_->Write16(0, kIntrdelay.offset, 0x0005);
  EXPECT_EQ(device_->Read16(0, kIntrdelay.offset) & 0x3fff, 5);
}

TEST_F(IoatLinuxTest, KeepsEightBytesWhereSomePartsHaveTheirVectors) {
  Power();
  for (const uint64_t offset : {0x1000u, 0x1008u, 0x1800u}) {
    device_->Write64(0, offset, 0x0123456789abcdef + offset);
    ResetChannel();
    EXPECT_EQ(device_->Read64(0, offset), 0x0123456789abcdef + offset);
  }
}

TEST_F(IoatLinuxTest, ANullDescriptorMovesNothingWhateverItsAddresses) {
  Power();
  Arm();
  for (const uint32_t bytes : {1u, 8u}) {
    Put(0, opcode::kCopy, bytes, 0xdead000, 0xdead000, control::kNull | kAnnounced);
    Write<uint64_t>(kChainaddr, Iova(&ring(0)));
    Write<uint16_t>(kDmacount, 1);
    EXPECT_EQ(model().Run(), 1u);
    EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kIdle);
  }
}

TEST_F(IoatLinuxTest, TheLargestDescriptorIsWhatXfercapSays) {
  options_.device.xfercap = 12;
  Power();
  for (const uint32_t bytes : {4096u, 4097u}) {
    ResetChannel();
    Arm();
    PutCopy(0, bytes, 2, 4);
    Write<uint16_t>(kDmacount, 1);
    model().Run();
    EXPECT_EQ(Read(kChanerr), bytes == 4096 ? 0 : chanerr::kLength);
  }
}

TEST_F(IoatLinuxTest, PqHasUpToEightSourcesInTwoDescriptors) {
  Power();
  const auto run = [this](uint32_t count, uint32_t bits) {
    ResetChannel();
    Arm();
    std::memset(Page(20), 0xee, 16);
    PqDescriptor base{};
    base.size = 1;
    base.control =
        control::kSourceCount.Set(control::kOpcode.Set(kAnnounced | bits, opcode::kPq), count - 2);
    base.next = Iova(&ring(1));
    PqExtension extension{};
    extension.next = Iova(&ring(2));
    Le64* const places[] = {&base.source1,      &base.source2,      &base.source3,
                            &extension.source4, &extension.source5, &extension.source6,
                            &extension.source7, &extension.source8};
    for (size_t s = 0; s < 8; ++s) {
      Page(10 + s)[0] = static_cast<std::byte>(1 << s);
      *places[s] = Iova(Page(10 + s));
      base.coefficients[s] = s == 1 ? 0 : 1;  // The second counts for P alone.
    }
    base.p = Iova(Page(20));
    base.q = Iova(Page(20)) + 8;
    ring(0) = std::bit_cast<Descriptor>(base);
    ring(1) = std::bit_cast<Descriptor>(extension);
    const bool two = count > 3;
    Write<uint16_t>(kDmacount, two ? 2 : 1);
    EXPECT_EQ(model().Run(), 1u) << count;
    EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kIdle);
  };
  for (uint32_t count = 2; count <= 8; ++count) {
    const auto all = static_cast<std::byte>((1u << count) - 1);
    run(count, 0);
    EXPECT_EQ(Page(20)[0], all);
    EXPECT_EQ(Page(20)[8], all & std::byte{0xfd});
    run(count, control::kPDisable);
    EXPECT_EQ(Page(20)[0], std::byte{0xee});
    EXPECT_EQ(Page(20)[8], all & std::byte{0xfd});
    run(count, control::kQDisable);
    EXPECT_EQ(Page(20)[0], all);
    EXPECT_EQ(Page(20)[8], std::byte{0xee});
  }
}

TEST_F(IoatLinuxTest, AnExtensionThatWasNotAnnouncedIsAnError) {
  Power();
  Arm();
  PutXor(0, opcode::kXor, 16, kAnnounced);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(Read(kChanerr), chanerr::kDescriptorCount);
}

TEST_F(IoatLinuxTest, SuspendsFromEachStateButHalted) {
  Power();
  Write<uint8_t>(kChancmd, chancmd::kSuspend);
  EXPECT_EQ(Read(kChansts) & 7, chansts::kHalted);
  Arm();
  Write<uint8_t>(kChancmd, chancmd::kSuspend);  // Armed.
  EXPECT_EQ(Read(kChansts) & 7, chansts::kSuspended);
  Arm();
  PutNull(0);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  Write<uint8_t>(kChancmd, chancmd::kSuspend);  // Idle.
  EXPECT_EQ(Read(kChansts), Iova(&ring(0)) | chansts::kSuspended);
}

TEST_F(IoatLinuxTest, AResetEndsAChannelThatIsAtWork) {
  options_.steps_when_read = false;
  Power();
  Arm();
  for (size_t i = 0; i < 8; ++i) PutNull(i);
  Write<uint16_t>(kDmacount, 8);
  model().Step();
  ResetChannel();
  EXPECT_EQ(Read(kChansts), chansts::kHalted);
  EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kActive);
  EXPECT_EQ(Read(kChancmp), Iova(Page(1)));
}

}  // namespace
}  // namespace pollux::models
