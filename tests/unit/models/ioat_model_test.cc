// What drivers of operating systems rely on in an I/OAT device, held to the model: start sequences,
// registers, descriptors, completions, interrupts, errors.
#include <sys/eventfd.h>

#include <bit>
#include <tuple>

#include "core/unique_fd.h"
#include "tests/unit/models/ioat_world.h"

namespace pollux::models {
namespace {

using namespace ioat;  // NOLINT: nearly every word here is the device's.

class IoatModelTest : public IoatWorld {};

// --- The function and its registers.

TEST_F(IoatModelTest, IsAFunctionWithOneBarAndAVectorPerChannel) {
  options_.device.channels = 4;
  Power();
  EXPECT_EQ(device_->ReadConfig(0, 4), 0x0b008086u);
  EXPECT_EQ(device_->ReadConfig(0x08, 4) >> 8, 0x088000u);
  EXPECT_EQ(device_->bar_bytes(0), 0x4000u);
  EXPECT_EQ(device_->interrupt_vectors(), 4u);
  EXPECT_EQ(device_->ReadConfig(0x52, 2) & 0x7ff, 3u);
  EXPECT_EQ(device_->ReadConfig(0x54, 4), 0x2000u);
  EXPECT_EQ(device_->ReadConfig(0x58, 4), 0x3000u);
}

TEST_F(IoatModelTest, TellsWhatItIs) {
  options_.device.version = 0x32;
  options_.device.channels = 2;
  options_.device.xfercap = 12;
  options_.device.capability = 0x40;
  Power();
  EXPECT_EQ(device_->Read8(0, kChancnt.offset), 2);
  EXPECT_EQ(device_->Read8(0, kXfercap.offset), 12);
  EXPECT_EQ(device_->Read8(0, kCbver.offset), 0x32);
  EXPECT_EQ(device_->Read32(0, kDmacapability.offset), 0x40u);
  device_->Write32(0, 0, 0xffffffff);
  device_->Write32(0, kDmacapability.offset, 0xffffffff);
  EXPECT_EQ(device_->Read8(0, kChancnt.offset), 2);
  EXPECT_EQ(device_->Read32(0, kDmacapability.offset), 0x40u);
}

TEST_F(IoatModelTest, HasErrorRegistersBeyondTheFirst256BytesOfConfiguration) {
  Power();
  Arm();
  model().FailDescriptor(0, 1, chanerr::kReadData);
  PutNull(0);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(device_->ReadConfig(kChanerrInt, 4), chanerr::kReadData);
  device_->WriteConfig(kChanerrInt, 4, chanerr::kReadData);
  EXPECT_EQ(device_->ReadConfig(kChanerrInt, 4), 0u);
  device_->WriteConfig(kDmauncerrsts, 4, 0x10);
  EXPECT_EQ(device_->ReadConfig(kDmauncerrsts, 4), 0u);
}

TEST_F(IoatModelTest, StoresWhatDriversWriteAndNobodyReads) {
  Power();
  for (const uint64_t offset : {0x4cu, 0x136u, 0x13cu, 0x140u, 0x144u, 0x1000u, 0x1008u, 0x1800u}) {
    device_->Write32(0, offset & ~uint64_t{3}, 0xa5a5a5a5);
    EXPECT_EQ(device_->Read32(0, offset & ~uint64_t{3}), 0xa5a5a5a5u) << offset;
  }
  Write<uint32_t>(kDcactrl, 0xffffffff);
  EXPECT_EQ(Read(kChansts), chansts::kHalted);
}

TEST_F(IoatModelTest, InUseIsSetByReadingAndReleasedByWriting) {
  Power();
  EXPECT_EQ(Read(kChanctrl) & chanctrl::kInUse, 0);
  EXPECT_NE(Read(kChanctrl) & chanctrl::kInUse, 0);
  Write<uint16_t>(kChanctrl, 0);
  EXPECT_EQ(Read(kChanctrl) & chanctrl::kInUse, 0);
}

// --- The states of a channel.

TEST_F(IoatModelTest, AResetTakesAMomentAndLeavesItHalted) {
  options_.device.reset_steps = 3;
  Power();
  Arm();
  Write<uint8_t>(kChancmd, chancmd::kReset);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Read(kChancmd), chancmd::kReset);
    model().Step();
  }
  EXPECT_EQ(Read(kChancmd), 0);
  EXPECT_EQ(Read(kChansts), chansts::kHalted);
  EXPECT_EQ(Read(kChainaddr), 0u);
  EXPECT_EQ(Read(kDmacount), 0);
}

TEST_F(IoatModelTest, TheChainAddressArmsIt) {
  Power();
  Arm();
  EXPECT_EQ(Read(kChansts), chansts::kArmed);  // All 64 bits: DPDK compares them.
}

TEST_F(IoatModelTest, AddressesMayBeWrittenInTwoHalves) {
  Power();
  const uint64_t chain = Iova(&ring(0)), status = Iova(Page(1));
  device_->Write32(0, 0x80 + 0x18, static_cast<uint32_t>(status));
  device_->Write32(0, 0x80 + 0x1c, static_cast<uint32_t>(status >> 32));
  device_->Write32(0, 0x80 + 0x10, static_cast<uint32_t>(chain));
  device_->Write32(0, 0x80 + 0x14, static_cast<uint32_t>(chain >> 32));
  PutNull(0);
  Write<uint16_t>(kDmacount, 1);
  EXPECT_EQ(model().Run(), 1u);
  EXPECT_EQ(written(), chain | chansts::kIdle);
}

TEST_F(IoatModelTest, TheChainAddressBeginsTheCountAnew) {
  Power();
  Arm();
  for (size_t i = 0; i < 4; ++i) PutNull(i);
  Write<uint16_t>(kDmacount, 3);
  EXPECT_EQ(model().Run(), 3u);
  Write<uint64_t>(kChainaddr, Iova(&ring(3)));
  EXPECT_EQ(Read(kDmacount), 0);
  Write<uint16_t>(kDmacount, 1);
  EXPECT_EQ(model().Run(), 1u);
  EXPECT_EQ(written(), Iova(&ring(3)) | chansts::kIdle);
}

TEST_F(IoatModelTest, ANullDescriptorMakesItActiveThenIdle) {
  Power();
  Arm(chanctrl::kAnyErrorAbort);
  PutNull(0, 1);
  Write<uint16_t>(kDmacount, 1);
  EXPECT_EQ(Read(kChansts), chansts::kActive);  // Linux looks within 20 us.
  model().Step();
  EXPECT_EQ(Read(kChansts), Iova(&ring(0)) | chansts::kIdle);
  EXPECT_EQ(written(), Read(kChansts));
}

TEST_F(IoatModelTest, GoesOnWhereItStoodAtTheNextDoorbell) {
  Power();
  Arm();
  for (size_t i = 0; i < 8; ++i) PutNull(i);
  Write<uint16_t>(kDmacount, 2);
  EXPECT_EQ(model().Run(), 2u);
  Write<uint16_t>(kDmacount, 7);
  model().Step();
  EXPECT_EQ(Read(kChansts), Iova(&ring(2)) | chansts::kActive);
  EXPECT_EQ(model().Run(), 4u);
  EXPECT_EQ(Read(kChansts), Iova(&ring(6)) | chansts::kIdle);
}

TEST_F(IoatModelTest, FollowsLinksNotNeighbours) {
  Power();
  Arm();
  PutNull(0);
  PutNull(5);
  ring(0).next = Iova(&ring(5));
  Write<uint16_t>(kDmacount, 2);
  EXPECT_EQ(model().Run(), 2u);
  EXPECT_EQ(written(), Iova(&ring(5)) | chansts::kIdle);
}

TEST_F(IoatModelTest, CountsModulo65536) {
  Power();
  Arm();
  for (size_t i = 0; i < 16; ++i) PutNull(i);
  Write<uint16_t>(kDmacount, 0xfff8);
  EXPECT_EQ(model().Run(), 0xfff8u);
  Write<uint16_t>(kDmacount, 8);
  EXPECT_EQ(model().Run(), 16u);
}

TEST_F(IoatModelTest, TheDoorbellMayBeMemory) {
  Power();
  Arm();
  PutNull(0);
  MmioWrite<uint16_t>(device_->MapBar(0, ChannelOffset(0) + kDmacount.offset, 2), 1);
  EXPECT_EQ(model().Run(), 1u);
}

TEST_F(IoatModelTest, SuspendsAndStaysSo) {
  Power();
  Arm();
  for (size_t i = 0; i < 4; ++i) PutNull(i);
  Write<uint16_t>(kDmacount, 4);
  model().Step();
  Write<uint8_t>(kChancmd, chancmd::kSuspend);
  EXPECT_EQ(Read(kChansts), Iova(&ring(0)) | chansts::kSuspended);
  EXPECT_EQ(model().Run(), 0u);
  Write<uint64_t>(kChainaddr, Iova(&ring(1)));
  Write<uint16_t>(kDmacount, 3);
  EXPECT_EQ(model().Run(), 3u);
}

TEST_F(IoatModelTest, ChannelsAreIndependent) {
  options_.device.channels = 2;
  Power();
  Arm();
  PutNull(0);
  PutNull(8);
  Write<uint64_t>(kChancmp, Iova(Page(1)) + 64, 1);
  Write<uint64_t>(kChainaddr, Iova(&ring(8)), 1);
  Write<uint16_t>(kDmacount, 1, 1);
  EXPECT_EQ(model().Run(), 1u);
  EXPECT_EQ(Read(kChansts), chansts::kArmed);
  EXPECT_EQ(Read(kChansts, 1), Iova(&ring(8)) | chansts::kIdle);
}

// --- Completions and interrupts.

TEST_F(IoatModelTest, WritesTheStatusOnlyWhereItIsAskedTo) {
  Power();
  Arm();
  Put(0, opcode::kCopy, 8, 0, 0, control::kNull);
  PutNull(1);
  Write<uint16_t>(kDmacount, 2);
  model().Step();
  EXPECT_EQ(written(), 0u);
  EXPECT_EQ(Read(kChansts), Iova(&ring(0)) | chansts::kActive);
  model().Step();
  EXPECT_EQ(written(), Iova(&ring(1)) | chansts::kIdle);
}

TEST_F(IoatModelTest, AnInterruptIsLatchedUntilItIsArmedAgain) {
  Power();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(device_->SetInterrupt(0, event.get()).ok());
  device_->Write8(0, kIntrctrl.offset, 0x09);
  Arm();
  for (size_t i = 0; i < 2; ++i) {
    Put(i, opcode::kCopy, 1, 0, 0, control::kNull | kAnnounced | control::kInterrupt);
  }
  eventfd_t count = 0;
  Write<uint16_t>(kDmacount, 2);
  model().Run();
  EXPECT_EQ(eventfd_read(event.get(), &count), 0);
  EXPECT_EQ(count, 1u);
  EXPECT_NE(Read(kChanctrl) & chanctrl::kInterruptDisable, 0);
  Write<uint16_t>(kChanctrl, 0x1d);  // The second one was pending.
  EXPECT_EQ(eventfd_read(event.get(), &count), 0);
  Write<uint16_t>(kChanctrl, 0x1d);
  EXPECT_NE(eventfd_read(event.get(), &count), 0);
}

TEST_F(IoatModelTest, TellsWhichChannelWantsAttentionOnce) {
  Power();
  device_->Write8(0, kIntrctrl.offset, 0x01);
  Arm();
  Put(0, opcode::kCopy, 1, 0, 0, control::kNull | control::kInterrupt);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(device_->Read8(0, kIntrctrl.offset), 0x07);
  EXPECT_EQ(device_->Read32(0, kAttnstatus.offset), 1u);
  EXPECT_EQ(device_->Read32(0, kAttnstatus.offset), 0u);
  EXPECT_EQ(device_->Read8(0, kIntrctrl.offset), 0x01);
}

TEST_F(IoatModelTest, SendsNoInterruptWithoutTheMasterEnable) {
  Power();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(device_->SetInterrupt(0, event.get()).ok());
  Arm();
  Put(0, opcode::kCopy, 1, 0, 0, control::kNull | control::kInterrupt);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  eventfd_t count = 0;
  EXPECT_NE(eventfd_read(event.get(), &count), 0);
}

// --- Operations.

TEST_F(IoatModelTest, CopiesAtAnyByte) {
  Power();
  Arm();
  for (size_t i = 0; i < kPage; ++i) Page(2)[i] = static_cast<std::byte>(i * 7);
  Put(0, opcode::kCopy, 2000, Iova(Page(2)) + 3, Iova(Page(3)) + 5);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(std::memcmp(Page(3) + 5, Page(2) + 3, 2000), 0);
  EXPECT_EQ(Page(3)[4], std::byte{0});
  EXPECT_EQ(Page(3)[2005], std::byte{0});
}

TEST_F(IoatModelTest, FillsWithAPatternFromItsLowByte) {
  Power();
  Arm();
  Put(0, opcode::kFill, 11, 0x8877665544332211, Iova(Page(2)) + 1);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  const unsigned char expected[] = {0,    0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                                    0x77, 0x88, 0x11, 0x22, 0x33, 0};
  EXPECT_EQ(std::memcmp(Page(2), expected, sizeof expected), 0);
}

TEST_F(IoatModelTest, XorsSixSourcesWithAnExtensionAndReportsTheBase) {
  Power();
  Arm();
  XorDescriptor base{};
  base.size = 16;
  base.control = control::kSourceCount.Set(control::kOpcode.Set(kAnnounced, opcode::kXor), 4);
  base.next = ring(0).next;
  XorExtension extension{};
  extension.next = ring(1).next;
  Le64* const places[] = {&base.source1, &base.source2, &base.source3,
                          &base.source4, &base.source5, &extension.source6};
  for (size_t i = 0; i < 6; ++i) {
    Page(2)[i * 64] = static_cast<std::byte>(1 << i);
    *places[i] = Iova(Page(2)) + i * 64;
  }
  base.destination = Iova(Page(3));
  ring(0) = std::bit_cast<Descriptor>(base);
  ring(1) = std::bit_cast<Descriptor>(extension);
  PutNull(2);
  Write<uint16_t>(kDmacount, 3);
  model().Step();
  EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kActive);
  EXPECT_EQ(Page(3)[0], std::byte{0x3f});
  EXPECT_EQ(model().Run(), 1u);
  EXPECT_EQ(written(), Iova(&ring(2)) | chansts::kIdle);

  // Linux's self-test: with the right destination it succeeds, with another it is bit 16.
  base.control = control::kOpcode.Set(base.control, opcode::kXorValidate);
  for (const bool right : {true, false}) {
    ring(0) = std::bit_cast<Descriptor>(base);
    if (!right) Page(3)[15] ^= std::byte{1};
    Write<uint64_t>(kChainaddr, Iova(&ring(0)));
    Write<uint16_t>(kDmacount, 2);
    model().Run();
    EXPECT_EQ(Read(kChanerr), right ? 0 : chanerr::kXorMismatch);
  }
}

TEST_F(IoatModelTest, MakesTheSyndromesOfRaid6) {
  Power();
  Arm();
  PqDescriptor pq{};
  pq.size = 1;
  pq.control = control::kOpcode.Set(kAnnounced, opcode::kPq);  // Two sources.
  pq.next = ring(0).next;
  Page(2)[0] = std::byte{0x80};
  Page(2)[1] = std::byte{0x01};
  pq.source1 = Iova(Page(2));
  pq.source2 = Iova(Page(2)) + 1;
  pq.coefficients[0] = 2;
  pq.coefficients[1] = 1;
  pq.p = Iova(Page(3));
  pq.q = Iova(Page(3)) + 8;
  ring(0) = std::bit_cast<Descriptor>(pq);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(Page(3)[0], std::byte{0x81});
  EXPECT_EQ(Page(3)[8], std::byte{0x1d ^ 0x01});  // 80h times 2 is 100h, less 11dh.
}

TEST_F(IoatModelTest, APqThatDiffersNamesPAndQ) {
  Power();
  for (const auto& [p_wrong, q_wrong, bits] :
       {std::tuple{true, false, chanerr::kXorMismatch},
        {false, true, chanerr::kQMismatch},
        {true, true, chanerr::kXorMismatch | chanerr::kQMismatch}}) {
    std::memset(Page(2), 0, kPage);
    ResetChannel();
    Arm();
    PqDescriptor pq{};
    pq.size = 4;
    pq.control = control::kOpcode.Set(kAnnounced, opcode::kPqValidate);
    pq.source1 = pq.source2 = Iova(Page(2));
    pq.p = Iova(Page(2)) + 64;
    pq.q = Iova(Page(2)) + 128;
    if (p_wrong) Page(2)[64] = std::byte{1};
    if (q_wrong) Page(2)[128] = std::byte{1};
    ring(0) = std::bit_cast<Descriptor>(pq);
    Write<uint16_t>(kDmacount, 1);
    model().Run();
    EXPECT_EQ(Read(kChanerr), bits);
  }
}

// --- Errors.

TEST_F(IoatModelTest, AnErrorHaltsItAtTheLastThatSucceeded) {
  Power();
  Arm();
  PutNull(0);
  PutCopy(1, 16, 2, 3);
  ring(1).source = 0xdead000;
  PutNull(2);
  Write<uint16_t>(kDmacount, 3);
  EXPECT_EQ(model().Run(), 1u);
  EXPECT_EQ(written(), Iova(&ring(0)) | chansts::kHalted);
  EXPECT_EQ(Read(kChanerr), chanerr::kReadData);
  Write<uint16_t>(kDmacount, 4);
  EXPECT_EQ(model().Run(), 0u);
}

TEST_F(IoatModelTest, NamesEachMistakeOfAHost) {
  Power();
  const auto mistake = [this](uint32_t op, uint32_t bytes, uint64_t source, uint64_t destination) {
    ResetChannel();
    Arm();
    Put(0, op, bytes, source, destination);
    Write<uint16_t>(kDmacount, 1);
    EXPECT_EQ(model().Run(), 0u);
    return Read(kChanerr);
  };
  const uint64_t good = Iova(Page(2)), bad = 0xdead000;
  EXPECT_EQ(mistake(opcode::kCopy, 8, bad, good), chanerr::kReadData);
  EXPECT_EQ(mistake(opcode::kCopy, 8, good, bad), chanerr::kWriteData);
  EXPECT_EQ(mistake(opcode::kFill, 8, 0, bad), chanerr::kWriteData);
  EXPECT_EQ(mistake(opcode::kCopy, 0, good, good), chanerr::kLength);
  EXPECT_EQ(mistake(opcode::kCopy, (1 << 20) + 1, good, good), chanerr::kLength);
  EXPECT_EQ(mistake(0x42, 8, good, good), chanerr::kControl);
}

TEST_F(IoatModelTest, NamesABadChain) {
  Power();
  const auto chain = [this](uint64_t address) {
    ResetChannel();
    Arm();
    Write<uint64_t>(kChainaddr, address);
    Write<uint16_t>(kDmacount, 2);
    model().Run();
    return Read(kChanerr);
  };
  PutNull(0);
  EXPECT_EQ(chain(0xdead000), chanerr::kChainAddress);
  EXPECT_EQ(chain(Iova(&ring(0)) + 8), chanerr::kDescriptor);
  ring(0).next = 0xdead000;
  EXPECT_EQ(chain(Iova(&ring(0))), chanerr::kNextAddress);
}

TEST_F(IoatModelTest, NamesABadCompletionAddress) {
  Power();
  Arm();
  Write<uint64_t>(kChancmp, 0xdead000);
  PutNull(0);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(Read(kChanerr), chanerr::kCompletionAddress);
}

TEST_F(IoatModelTest, RefusesWhatItsCapabilitiesDoNotName) {
  options_.device.capability = 0;
  Power();
  for (const uint32_t op : {opcode::kFill, opcode::kXor, opcode::kPq}) {
    ResetChannel();
    Arm();
    Put(0, op, 8, Iova(Page(2)), Iova(Page(3)));
    Write<uint16_t>(kDmacount, 1);
    model().Run();
    EXPECT_EQ(Read(kChanerr), chanerr::kControl);
  }
}

TEST_F(IoatModelTest, ErrorBitsAreClearedByWritingThemAndThenItRestarts) {
  Power();
  for (unsigned bit = 0; bit < chanerr::kBits; ++bit) {
    ResetChannel();
    Arm();
    PutNull(0);
    PutNull(1);
    model().FailDescriptor(0, 1, 1u << bit);
    Write<uint16_t>(kDmacount, 2);
    model().Run();
    EXPECT_EQ(written() & 7, chansts::kHalted) << bit;
    EXPECT_EQ(Read(kChanerr), 1u << bit);
    Write<uint32_t>(kChanerr, 1u << bit);
    EXPECT_EQ(Read(kChanerr), 0u);
    Write<uint64_t>(kChainaddr, Iova(&ring(1)));
    Write<uint16_t>(kDmacount, 1);
    EXPECT_EQ(model().Run(), 1u);
  }
}

TEST_F(IoatModelTest, AnErrorIsWrittenOnlyWithErrorCompletion) {
  Power();
  Arm(chanctrl::kAnyErrorAbort);
  model().FailDescriptor(0, 1, chanerr::kReadData);
  PutNull(0);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(written(), 0u);
  EXPECT_EQ(Read(kChansts), chansts::kHalted);
}

TEST_F(IoatModelTest, OnesAreReadWhereNothingIs) {
  Power();
  model().Remove();
  EXPECT_EQ(Read(kChansts), ~uint64_t{0});
  EXPECT_EQ(device_->Read8(0, kCbver.offset), 0xff);
  EXPECT_EQ(device_->ReadConfig(0, 4), 0xffffffffu);
  EXPECT_FALSE(device_->gone().ok());
}

TEST_F(IoatModelTest, DoesNothingWithoutBusMastering) {
  Power();
  Arm();
  PutNull(0);
  device_->SetBusMaster(false);
  Write<uint16_t>(kDmacount, 1);
  EXPECT_EQ(model().Run(), 0u);
}

// --- Start sequences.

TEST_F(IoatModelTest, StartsAsSpdkStartsIt) {
  Power();
  EXPECT_GE(device_->Read8(0, kCbver.offset), 0x30);
  EXPECT_EQ(Read(kChansts) & 7, chansts::kHalted);
  Write<uint32_t>(kChanerr, Read(kChanerr));
  device_->WriteConfig(kChanerrInt, 4, device_->ReadConfig(kChanerrInt, 4));
  ResetChannel();
  EXPECT_EQ(Read(kChancmd) & chancmd::kReset, 0);
  Arm(chanctrl::kAnyErrorAbort);
  PutNull(0, 8);
  Write<uint16_t>(kDmacount, 1);
  model().Run();
  EXPECT_EQ(Read(kChansts) & 7, chansts::kIdle);
  PutCopy(1, 64, 2, 3);
  Write<uint16_t>(kDmacount, 2);
  model().Run();
  EXPECT_EQ(written() & chansts::kAddressMask, Iova(&ring(1)));
}

TEST_F(IoatModelTest, StartsAndRecoversAsDpdkDoesIt) {
  Power();
  EXPECT_EQ(Read(kChanctrl) & chanctrl::kInUse, 0);
  Write<uint8_t>(kChancmd, chancmd::kSuspend);
  ResetChannel();
  Arm(0x0c);
  PutCopy(0, 64, 2, 3);
  PutCopy(1, 64, 2, 3);
  PutCopy(2, 64, 2, 3);
  ring(1).size = 0;
  Write<uint16_t>(kDmacount, 3);
  model().Run();
  EXPECT_EQ(Read(kChansts) & 7, chansts::kHalted);
  Write<uint32_t>(kChanerr, Read(kChanerr));
  ResetChannel();
  Write<uint64_t>(kChainaddr, ring(1).next);
  Write<uint16_t>(kChanctrl, 0x0c);
  Write<uint64_t>(kChancmp, Iova(Page(1)));
  EXPECT_EQ(Read(kChansts), chansts::kArmed);
  Write<uint16_t>(kDmacount, 1);
  EXPECT_EQ(model().Run(), 1u);
  EXPECT_EQ(written(), Iova(&ring(2)) | chansts::kIdle);
}

}  // namespace
}  // namespace pollux::models
