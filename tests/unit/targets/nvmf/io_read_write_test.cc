#include "io_fixture.h"

namespace pollux::nvmf::io_test {
namespace {

class IoReadWriteTest : public IoTest {};

TEST_F(IoReadWriteTest, WhatWasWrittenIsRead) {
  AddMemoryDisk();
  EXPECT_ENDED_WITH(Write(10, 8, 1), kSuccess);
  EXPECT_ENDED_WITH(Write(4088, 8, 2), kSuccess);
  EXPECT_EQ(OnDisk(10, 8), Pattern(4096, 1));
  EXPECT_EQ(OnDisk(4088, 8), Pattern(4096, 2));
  EXPECT_EQ(OnDisk(9, 1), Bytes(512));
}

TEST_F(IoReadWriteTest, LentMemoryNeedsNoBuffer) {
  OddDisk& disk = AddOddDisk();
  disk.lends = true;
  HostCommand& write = Start(Entry(nvme::io::kWrite, 1, 3, 2), 1024, Pattern(1024, 5), true);
  EXPECT_EQ(BuffersOut(), 0u);
  EXPECT_EQ(write.parts.size(), 2u);
  world_.On(0, [&] { write.SendWanted(); });
  EXPECT_ENDED_WITH(write, kSuccess);  // At once, with the data.
  HostCommand& read = Start(Entry(nvme::io::kRead, 1, 3, 2), 1024, {}, true);
  EXPECT_EQ(read.in, Pattern(1024, 5));
  EXPECT_EQ(BuffersOut(), 0u);
  EXPECT_EQ(disk.reads + disk.writes, 0);
  EXPECT_EQ(disk.loans, 2);
  world_.On(0, [&] { read.TellSent(); });
}

TEST_F(IoReadWriteTest, ReadsThatAreLentAnswerFromWithinStart) {
  AddMemoryDisk();
  HostCommand& read = Start(Entry(nvme::io::kRead, 1, 0, 8), 4096);
  EXPECT_TRUE(read.last);
  EXPECT_EQ(read.completions, 0);
}

TEST_F(IoReadWriteTest, DiskThatDoesNotLendUsesASmallBuffer) {
  OddDisk& disk = AddOddDisk();
  HostCommand& write = Start(Entry(nvme::io::kWrite, 1, 3, 16), 8192, Pattern(8192, 5), true);
  EXPECT_EQ(small_->available(), small_->count() - 1);
  world_.On(0, [&] { write.SendWanted(); });
  Spin();
  EXPECT_ENDED_WITH(write, kSuccess);
  EXPECT_EQ(OnDisk(3, 16), Pattern(8192, 5));
  EXPECT_EQ(disk.writes, 1);
  EXPECT_EQ(disk.reads, 1);
}

TEST_F(IoReadWriteTest, MoreThanASmallBufferTakesALargeOne) {
  AddOddDisk();
  HostCommand& write = Start(Entry(nvme::io::kWrite, 1, 0, 17), 8704, Pattern(8704, 5), true);
  EXPECT_EQ(large_->available(), large_->count() - 1);
  world_.On(0, [&] { write.SendWanted(); });
  Spin();
  EXPECT_EQ(OnDisk(0, 17), Pattern(8704, 5));
}

TEST_F(IoReadWriteTest, CompletionsTellTheHeadOfTheQueue) {
  AddMemoryDisk();
  const uint16_t first = Read(0, 1).completion.sqhd;
  EXPECT_EQ(Read(0, 1).completion.sqhd, first + 1);
  EXPECT_EQ(Read(5000, 1).completion.sqhd, first + 2);  // Also of one that failed.
  for (int i = 0; i < 130; ++i) Read(0, 1);
  EXPECT_EQ(Read(0, 1).completion.sqhd, (first + 133) % 128);
}

TEST_F(IoReadWriteTest, RangesBeyondTheEndAreRefused) {
  AddMemoryDisk();
  EXPECT_ENDED_WITH(Read(4095, 1), kSuccess);
  for (const uint64_t lba :
       {uint64_t{4096}, uint64_t{4095}, uint64_t{UINT32_MAX} + 1, UINT64_MAX, UINT64_MAX - 1}) {
    EXPECT_ENDED_WITH(Read(lba, 2), kLbaOutOfRange | kDnr);
    EXPECT_ENDED_WITH(Write(lba, 2, 0), kLbaOutOfRange | kDnr);
  }
}

TEST_F(IoReadWriteTest, LengthsThatDoNotFitTheBlocksAreRefused) {
  AddMemoryDisk();
  for (const uint32_t bytes : {0u, 1u, 511u, 512u, 1023u, 1025u, 2048u, UINT32_MAX}) {
    for (const uint8_t opcode : Bytes{nvme::io::kRead, nvme::io::kWrite, nvme::io::kCompare}) {
      HostCommand& command = Run(Entry(opcode, 1, 0, 2), bytes, Pattern(1024, 1));
      EXPECT_ENDED_WITH(command, kSglDataLengthInvalid | kDnr);
      EXPECT_EQ(command.bursts_in + command.bursts_out, 0);
    }
  }
}

TEST_F(IoReadWriteTest, MoreThanMdtsIsRefused) {
  AddMemoryDisk();
  EXPECT_ENDED_WITH(Read(0, 256), kSuccess);
  EXPECT_ENDED_WITH(Read(0, 257), kInvalidField | kDnr);
  EXPECT_ENDED_WITH(Write(0, 257, 1), kInvalidField | kDnr);
}

TEST_F(IoReadWriteTest, NamespacesThatAreNotThereAreRefused) {
  AddMemoryDisk(1);
  AddMemoryDisk(5);
  for (const uint32_t nsid : {0u, 2u, 4u, 6u, 32u, 33u, 0x80000001u, 0xfffffffeu, 0xffffffffu}) {
    for (const uint8_t opcode : Bytes{nvme::io::kRead, nvme::io::kWrite, nvme::io::kWriteZeroes,
                                      nvme::io::kDatasetManagement, nvme::io::kCopy}) {
      EXPECT_ENDED_WITH(Run(Entry(opcode, nsid), 512, Pattern(512, 1)), kInvalidNamespace | kDnr);
    }
  }
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kRead, 5), 512), kSuccess);
}

TEST_F(IoReadWriteTest, NamespacesOfOtherHostsAreNotThere) {
  AddMemoryDisk();
  using Hosts = std::vector<std::string>;
  Change(1, [](NamespaceFacts& facts) { facts.hosts = std::make_shared<Hosts>(); });
  EXPECT_ENDED_WITH(Read(0, 1), kInvalidNamespace | kDnr);
  Change(1, [](NamespaceFacts& facts) {
    facts.hosts = std::make_shared<Hosts>(Hosts{"nqn.2024-01.test:a", kHost, "nqn.2024-01.z"});
  });
  EXPECT_ENDED_WITH(Read(0, 1), kSuccess);
}

TEST_F(IoReadWriteTest, AnaStateOfTheListenerDecides) {
  AddMemoryDisk();
  AddMemoryDisk(2);
  Change(2, [](NamespaceFacts& facts) { facts.anagrpid = 2; });
  const struct {
    nvme::AnaState state;
    uint16_t status;
  } cases[] = {{nvme::AnaState::kNonOptimized, kSuccess},
               {nvme::AnaState::kInaccessible, kAnaInaccessible},
               {nvme::AnaState::kPersistentLoss, kAnaPersistentLoss},
               {nvme::AnaState::kChange, kAnaTransition},
               {nvme::AnaState::kOptimized, kSuccess}};
  for (const auto& c : cases) {
    SetAna(c.state);
    EXPECT_ENDED_WITH(Read(0, 1), c.status);
    EXPECT_ENDED_WITH(Write(0, 1, 1), c.status);
    EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, 1)), c.status);
    EXPECT_ENDED_WITH(Run(Entry(nvme::io::kRead, 2), 512), kSuccess);
  }
}

TEST_F(IoReadWriteTest, NothingIsAccessibleThroughAListenerThatIsGone) {
  AddMemoryDisk();
  world_.On(0, [&] { view_->RemoveListener(kListener); });
  EXPECT_ENDED_WITH(Read(0, 1), kAnaInaccessible);
}

TEST_F(IoReadWriteTest, ProtectedNamespacesAreRead) {
  AddMemoryDisk();
  Change(1, [](NamespaceFacts& facts) { facts.write_protection = nvme::WriteProtection::kOn; });
  EXPECT_ENDED_WITH(Read(0, 1), kSuccess);
  EXPECT_ENDED_WITH(Write(0, 1, 1), kNamespaceWriteProtected | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1)), kNamespaceWriteProtected | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kCopy, 1), 32, Bytes(32)), kNamespaceWriteProtected | kDnr);
  Change(1, [](NamespaceFacts& facts) { facts.write_protection = nvme::WriteProtection::kNone; });
  EXPECT_ENDED_WITH(Write(0, 1, 1), kSuccess);
}

TEST_F(IoReadWriteTest, ReadOnlyDisksAreNotWritten) {
  OddDisk& disk = AddOddDisk(1, {.read_only = true});
  disk.lends = true;
  EXPECT_ENDED_WITH(Write(0, 1, 1), kNamespaceWriteProtected | kDnr);
  EXPECT_EQ(disk.loans + disk.writes, 0);
}

TEST_F(IoReadWriteTest, ForcedUnitAccessReachesADiskWithACache) {
  OddDisk& disk = AddOddDisk(1, {.volatile_cache = true});
  disk.lends = true;
  nvme::SubmissionEntry entry = Entry(nvme::io::kWrite, 1);
  EXPECT_ENDED_WITH(Run(entry, 512, Pattern(512, 1)), kSuccess);
  EXPECT_EQ(disk.loans, 1);
  EXPECT_EQ(disk.writes, 0);
  entry.cdw12 = entry.cdw12 | 1u << 30;
  EXPECT_ENDED_WITH(Run(entry, 512, Pattern(512, 2)), kSuccess);
  EXPECT_EQ(disk.fua_writes, 1);
}

TEST_F(IoReadWriteTest, StatusesOfTheDiskAreMapped) {
  OddDisk& disk = AddOddDisk();
  const struct {
    IoStatus status;
    uint16_t read, write;
  } cases[] = {
      {IoStatus::kOutOfRange, kLbaOutOfRange | kDnr, kLbaOutOfRange | kDnr},
      {IoStatus::kNotSupported, kInvalidOpcode | kDnr, kInvalidOpcode | kDnr},
      {IoStatus::kWriteProtected, kNamespaceWriteProtected | kDnr, kNamespaceWriteProtected | kDnr},
      {IoStatus::kMediumError, kUnrecoveredReadError, kWriteFault},
      {IoStatus::kNoSpace, kCapacityExceeded | kDnr, kCapacityExceeded | kDnr},
      {IoStatus::kMiscompare, kCompareFailure | kDnr, kCompareFailure | kDnr},
      {IoStatus::kAborted, kCommandInterrupted, kCommandInterrupted},
      {IoStatus::kGone, kInvalidNamespace | kDnr, kInvalidNamespace | kDnr},
      {IoStatus::kTimedOut, kCommandInterrupted, kCommandInterrupted},
      {IoStatus::kNoResources, kCommandInterrupted, kCommandInterrupted},
      {IoStatus::kInvalidRequest, kInternalError, kInternalError},
      {IoStatus::kInternalError, kInternalError, kInternalError}};
  for (const auto& c : cases) {
    disk.fails = c.status;
    EXPECT_ENDED_WITH(Read(0, 1), c.read);
    EXPECT_ENDED_WITH(Write(0, 1, 1), c.write);
  }
  EXPECT_EQ(Counted().failed(), 24u);
}

TEST_F(IoReadWriteTest, AnNvmeStatusOfTheDiskReachesTheHostAsItIs) {
  OddDisk& disk = AddOddDisk();
  disk.fails = IoStatus::kNvmeFailure;
  disk.nvme_status = 0x282;  // End-to-end Guard Check Error
  EXPECT_ENDED_WITH(Read(0, 1), 0x282);
  EXPECT_ENDED_WITH(Write(0, 1, 1), 0x282);
  disk.nvme_status = 0;  // That would be success.
  EXPECT_ENDED_WITH(Read(0, 1), kInternalError);
}

TEST_F(IoReadWriteTest, InterleavedMetadataIsPartOfTheData) {
  AddOddDisk(1, {.block_bytes = 512, .metadata_bytes = 8});
  EXPECT_ENDED_WITH(Write(3, 4, 9), kSuccess);
  EXPECT_EQ(OnDisk(3, 4), Pattern(4 * 520, 9));
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kRead, 1, 3, 4), 4 * 512), kSglDataLengthInvalid | kDnr);
}

TEST_F(IoReadWriteTest, ProtectionInformationIsNotMadeOrStripped) {
  AddOddDisk(1, {.metadata_bytes = 8, .protection_type = 1});
  EXPECT_ENDED_WITH(Write(3, 4, 9), kSuccess);
  nvme::SubmissionEntry entry = Entry(nvme::io::kRead, 1, 3, 1);
  entry.cdw12 = entry.cdw12 | 1u << 29;
  EXPECT_ENDED_WITH(Run(entry, 512), kInvalidField | kDnr);
}

TEST_F(IoReadWriteTest, CountersAddUp) {
  AddMemoryDisk();
  Read(0, 8);
  Read(0, 1);
  Write(0, 2, 1);
  Run(Entry(nvme::io::kFlush, 1));
  Read(5000, 1);
  const CommandTotals counters = Counted();
  EXPECT_EQ(counters.reads, 2u);
  EXPECT_EQ(counters.bytes_read, 9u * 512);
  EXPECT_EQ(counters.writes, 1u);
  EXPECT_EQ(counters.bytes_written, 2u * 512);
  EXPECT_EQ(counters.others, 2u);  // With Connect.
  EXPECT_EQ(counters.failed(), 1u);
}

TEST_F(IoReadWriteTest, DataThatDoesNotComeWholeEndsTheWrite) {
  for (const bool lends : {false, true}) {
    const uint32_t nsid = lends ? 2 : 1;
    OddDisk& disk = AddOddDisk(nsid);
    disk.lends = lends;
    HostCommand& write = Start(Entry(nvme::io::kWrite, nsid, 0, 1), 512, {}, true);
    world_.On(0, [&] { write.DataDropped(kDataTransferError); });
    EXPECT_ENDED_WITH(write, kDataTransferError);
    EXPECT_EQ(disk.writes, 0);
    EXPECT_EQ(BuffersOut(), 0u);
    world_.On(0, [&] { write.DataArrived(); });  // Too late: nothing.
    EXPECT_EQ(write.completions, 1);
  }
}

// --- Bursts: 1 MiB through buffers of 128 KiB.

class IoBurstTest : public IoTest {
 protected:
  IoBurstTest() : IoTest(Buffers{.small = 1, .large = 1}, {.io_bytes_max = 1 << 20}) {}
};

TEST_F(IoBurstTest, LongCommandsMoveThroughOneBuffer) {
  OddDisk& disk = AddOddDisk();
  HostCommand& write = Write(5, 2048, 3);
  EXPECT_ENDED_WITH(write, kSuccess);
  EXPECT_EQ(write.bursts_out, 8);
  EXPECT_EQ(disk.writes, 8);
  HostCommand& read = Read(5, 2048);
  EXPECT_ENDED_WITH(read, kSuccess);
  EXPECT_EQ(read.bursts_in, 8);
  EXPECT_EQ(read.in, Pattern(1 << 20, 3));
  EXPECT_EQ(Counted().bytes_read, 1u << 20);
}

TEST_F(IoBurstTest, LastBurstMayBeShort) {
  AddOddDisk();
  EXPECT_ENDED_WITH(Write(0, 257, 3), kSuccess);
  HostCommand& read = Read(0, 257);
  EXPECT_EQ(read.bursts_in, 2);
  EXPECT_EQ(read.in, Pattern(257 * 512, 3));
}

TEST_F(IoBurstTest, BlocksWithMetadataAreNotCut) {
  AddOddDisk(1, {.block_bytes = 4096, .metadata_bytes = 64});
  EXPECT_ENDED_WITH(Write(7, 100, 3), kSuccess);  // 31 blocks fit into a buffer.
  EXPECT_EQ(OnDisk(7, 100), Pattern(100 * 4160, 3));
}

TEST_F(IoBurstTest, ErrorInTheMiddleEndsTheCommand) {
  OddDisk& disk = AddOddDisk();
  disk.bad_lba = 1000;
  HostCommand& read = Read(0, 2048);
  EXPECT_ENDED_WITH(read, kUnrecoveredReadError);
  EXPECT_EQ(read.bursts_in, 3);
  HostCommand& write = Write(0, 2048, 1);
  EXPECT_ENDED_WITH(write, kWriteFault);
  EXPECT_EQ(write.bursts_out, 4);
}

TEST_F(IoBurstTest, CommandsTakeTurnsAtTheOneBuffer) {
  AddOddDisk();
  HostCommand& first = Start(Entry(nvme::io::kWrite, 1, 0, 1), 512, Pattern(512, 1), true);
  HostCommand& second = Start(Entry(nvme::io::kWrite, 1, 1, 1), 512, Pattern(512, 2), true);
  HostCommand& third = Start(Entry(nvme::io::kRead, 1, 0, 1), 512);
  Spin();
  EXPECT_TRUE(first.wanted);
  EXPECT_FALSE(second.wanted);
  world_.On(0, [&] { first.SendWanted(); });
  Spin();
  EXPECT_ENDED_WITH(first, kSuccess);
  EXPECT_TRUE(second.wanted);
  EXPECT_FALSE(third.ended);
  world_.On(0, [&] { second.SendWanted(); });
  Spin();
  EXPECT_ENDED_WITH(second, kSuccess);
  EXPECT_ENDED_WITH(third, kSuccess);
  EXPECT_EQ(third.in, Pattern(512, 1));
}

TEST_F(IoBurstTest, DiskThatShrinksUnderACommandEndsIt) {
  OddDisk& disk = AddOddDisk();
  HostCommand& write =
      Start(Entry(nvme::io::kWrite, 1, 0, 2048), 1 << 20, Pattern(1 << 20, 1), true);
  world_.On(0, [&] { write.SendWanted(); });
  Spin();
  EXPECT_EQ(write.bursts_out, 2);
  EXPECT_TRUE(world_.Run(world_.devices.Resize(disk, 300)).ok());
  world_.On(0, [&] { write.SendWanted(); });
  Spin();
  EXPECT_ENDED_WITH(write, kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Read(299, 2), kLbaOutOfRange | kDnr);
  EXPECT_TRUE(world_.Run(world_.devices.Resize(disk, 5000)).ok());
  EXPECT_ENDED_WITH(Read(4999, 1), kSuccess);
}

}  // namespace
}  // namespace pollux::nvmf::io_test
