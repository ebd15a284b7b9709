#include <algorithm>

#include "io_fixture.h"

namespace pollux::nvmf::io_test {
namespace {

class IoFusedTest : public IoTest {
 protected:
  IoFusedTest() : IoTest(Buffers{.small = 1, .large = 1}) {}

  static nvme::SubmissionEntry First(uint64_t lba, uint32_t blocks, uint32_t nsid = 1) {
    nvme::SubmissionEntry entry = Entry(nvme::io::kCompare, nsid, lba, blocks);
    entry.flags = nvme::kFuseFirst;
    return entry;
  }
  static nvme::SubmissionEntry Second(uint64_t lba, uint32_t blocks, uint32_t nsid = 1) {
    nvme::SubmissionEntry entry = Entry(nvme::io::kWrite, nsid, lba, blocks);
    entry.flags = nvme::kFuseSecond;
    return entry;
  }
  struct Pair {
    HostCommand& first;
    HostCommand& second;
  };
  Pair StartPair(const nvme::SubmissionEntry& first, const Bytes& compare,
                 const nvme::SubmissionEntry& second, const Bytes& write, bool waits = false) {
    HostCommand& one = Start(first, static_cast<uint32_t>(compare.size()), compare, waits);
    HostCommand& two = Start(second, static_cast<uint32_t>(write.size()), write, waits);
    return {one, two};
  }
  Pair RunPair(const nvme::SubmissionEntry& first, const Bytes& compare,
               const nvme::SubmissionEntry& second, const Bytes& write) {
    const Pair pair = StartPair(first, compare, second, write);
    Spin();
    return pair;
  }
};

TEST_F(IoFusedTest, EqualDataIsReplaced) {
  AddMemoryDisk();  // Compares and writes under the lock of the block layer.
  Write(4, 8, 1);
  const Pair pair = RunPair(First(4, 8), Pattern(4096, 1), Second(4, 8), Pattern(4096, 2));
  EXPECT_ENDED_WITH(pair.first, kSuccess);
  EXPECT_ENDED_WITH(pair.second, kSuccess);
  EXPECT_EQ(OnDisk(4, 8), Pattern(4096, 2));
}

TEST_F(IoFusedTest, DifferenceLeavesTheDataAlone) {
  AddMemoryDisk();
  Write(4, 8, 1);
  Bytes compare = Pattern(4096, 1);
  compare[4095] ^= 1;
  const Pair pair = RunPair(First(4, 8), compare, Second(4, 8), Pattern(4096, 2));
  EXPECT_ENDED_WITH(pair.first, kCompareFailure | kDnr);
  EXPECT_ENDED_WITH(pair.second, kAbortedFailedFused);
  EXPECT_EQ(OnDisk(4, 8), Pattern(4096, 1));
}

TEST_F(IoFusedTest, WholePairFitsOneBuffer) {
  AddOddDisk();
  Write(0, 128, 1);
  const Pair pair = RunPair(First(0, 128), Pattern(65536, 1), Second(0, 128), Pattern(65536, 2));
  EXPECT_ENDED_WITH(pair.first, kSuccess);
  EXPECT_ENDED_WITH(pair.second, kSuccess);
  EXPECT_EQ(OnDisk(0, 128), Pattern(65536, 2));
}

TEST_F(IoFusedTest, PairLargerThanTheAtomicUnitIsRefused) {
  AddOddDisk();
  const Pair pair = RunPair(First(0, 129), Bytes(129 * 512), Second(0, 129), Bytes(129 * 512));
  EXPECT_ENDED_WITH(pair.first, kAtomicWriteUnitExceeded | kDnr);
  EXPECT_ENDED_WITH(pair.second, kAtomicWriteUnitExceeded | kDnr);
}

TEST_F(IoFusedTest, FailedWriteIsTheSeconds) {
  OddDisk& disk = AddOddDisk();
  disk.fails = IoStatus::kMediumError;
  const Pair pair = RunPair(First(0, 1), Bytes(512), Second(0, 1), Bytes(512));
  EXPECT_ENDED_WITH(pair.first, kAbortedFailedFused);
  EXPECT_ENDED_WITH(pair.second, kWriteFault);
}

TEST_F(IoFusedTest, ForcedUnitAccessIsTheSeconds) {
  OddDisk& disk = AddOddDisk();
  nvme::SubmissionEntry second = Second(0, 1);
  second.cdw12 = second.cdw12 | 1u << 30;
  RunPair(First(0, 1), Bytes(512), second, Bytes(512));
  EXPECT_EQ(disk.fua_writes, 1);
}

TEST_F(IoFusedTest, FirstWithoutSecondIsAborted) {
  AddMemoryDisk();
  HostCommand& first = Start(First(0, 1), 512, Bytes(512));
  Spin();
  EXPECT_FALSE(first.ended);
  HostCommand& read = Read(0, 1);
  EXPECT_ENDED_WITH(first, kAbortedMissingFused);
  EXPECT_ENDED_WITH(read, kSuccess);  // What came instead is done.
}

TEST_F(IoFusedTest, SecondWithoutFirstIsAborted) {
  AddMemoryDisk();
  EXPECT_ENDED_WITH(Run(Second(0, 1), 512, Pattern(512, 1)), kAbortedMissingFused);
  EXPECT_EQ(OnDisk(0, 1), Bytes(512));
}

TEST_F(IoFusedTest, FirstAfterFirstIsTheNewFirst) {
  AddMemoryDisk();
  HostCommand& lost = Start(First(0, 1), 512, Bytes(512));
  const Pair pair = RunPair(First(0, 1), Bytes(512), Second(0, 1), Pattern(512, 3));
  EXPECT_ENDED_WITH(lost, kAbortedMissingFused);
  EXPECT_ENDED_WITH(pair.first, kSuccess);
  EXPECT_ENDED_WITH(pair.second, kSuccess);
}

TEST_F(IoFusedTest, ReservedFuseIsRefused) {
  AddMemoryDisk();
  HostCommand& first = Start(First(0, 1), 512, Bytes(512));
  nvme::SubmissionEntry entry = Entry(nvme::io::kRead, 1);
  entry.flags = 3;
  EXPECT_ENDED_WITH(Run(entry, 512), kInvalidField | kDnr);
  EXPECT_ENDED_WITH(first, kAbortedMissingFused);
}

TEST_F(IoFusedTest, HalvesThatDoNotBelongTogetherAreRefused) {
  AddMemoryDisk(1);
  AddMemoryDisk(2);
  nvme::SubmissionEntry other_opcode = Second(0, 1);
  other_opcode.opc = nvme::io::kRead;
  nvme::SubmissionEntry far = Second(0, 1);
  far.cdw11 = 1;
  for (const nvme::SubmissionEntry& second :
       {Second(1, 1), Second(0, 2), Second(0, 1, 2), other_opcode, far}) {
    const Pair pair = RunPair(First(0, 1), Bytes(512), second, Pattern(512, 1));
    EXPECT_ENDED_WITH(pair.first, kInvalidField | kDnr);
    EXPECT_ENDED_WITH(pair.second, kInvalidField | kDnr);
  }
  nvme::SubmissionEntry first = First(0, 1);
  first.opc = nvme::io::kWrite;
  const Pair pair = RunPair(first, Bytes(512), Second(0, 1), Pattern(512, 1));
  EXPECT_ENDED_WITH(pair.first, kInvalidField | kDnr);
  EXPECT_ENDED_WITH(pair.second, kInvalidField | kDnr);
  EXPECT_EQ(OnDisk(0, 2), Bytes(1024));
}

TEST_F(IoFusedTest, WhatIsWrongWithOneHalfAbortsTheOther) {
  AddOddDisk();
  const Pair absent = RunPair(First(0, 1, 9), Bytes(512), Second(0, 1, 9), Bytes(512));
  EXPECT_ENDED_WITH(absent.first, kInvalidNamespace | kDnr);
  EXPECT_ENDED_WITH(absent.second, kAbortedFailedFused);

  const Pair beyond = RunPair(First(4096, 1), Bytes(512), Second(4096, 1), Bytes(512));
  EXPECT_ENDED_WITH(beyond.first, kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(beyond.second, kAbortedFailedFused);

  const Pair long_first = RunPair(First(0, 1), Bytes(1024), Second(0, 1), Bytes(512));
  EXPECT_ENDED_WITH(long_first.first, kSglDataLengthInvalid | kDnr);
  EXPECT_ENDED_WITH(long_first.second, kAbortedFailedFused);

  const Pair long_second = RunPair(First(0, 1), Bytes(512), Second(0, 1), Bytes(1024));
  EXPECT_ENDED_WITH(long_second.first, kAbortedFailedFused);
  EXPECT_ENDED_WITH(long_second.second, kSglDataLengthInvalid | kDnr);

  Change(1, [](NamespaceFacts& facts) { facts.write_protection = nvme::WriteProtection::kOn; });
  const Pair kept = RunPair(First(0, 1), Bytes(512), Second(0, 1), Bytes(512));
  EXPECT_ENDED_WITH(kept.first, kAbortedFailedFused);
  EXPECT_ENDED_WITH(kept.second, kNamespaceWriteProtected | kDnr);

  Change(1, [](NamespaceFacts& facts) { facts.compare_and_write = false; });
  const Pair unable = RunPair(First(0, 1), Bytes(512), Second(0, 1), Bytes(512));
  EXPECT_ENDED_WITH(unable.first, kInvalidField | kDnr);
  EXPECT_ENDED_WITH(unable.second, kInvalidField | kDnr);
}

TEST_F(IoFusedTest, DataThatDoesNotComeEndsBoth) {
  OddDisk& disk = AddOddDisk();
  for (const bool of_second : {false, true}) {
    const Pair pair =
        StartPair(First(0, 1), Bytes(512), Second(0, 1), Pattern(512, 1), /*waits=*/true);
    world_.On(0, [&] {
      if (of_second) pair.first.SendWanted();
      HostCommand& lost = of_second ? pair.second : pair.first;
      lost.wanted = false;
      lost.DataDropped(kDataTransferError);
    });
    Spin();
    EXPECT_ENDED_WITH(of_second ? pair.second : pair.first, kDataTransferError);
    EXPECT_ENDED_WITH(of_second ? pair.first : pair.second, kAbortedFailedFused);
  }
  EXPECT_EQ(disk.data[0], std::byte{0});
  EXPECT_EQ(BuffersOut(), 0u);
}

// Which half is aborted, and when.
TEST_F(IoFusedTest, AbortOfEitherHalfEndsBoth) {
  OddDisk& disk = AddOddDisk();
  for (const int stage : {0, 1, 2}) {  // The first's data is awaited; the second's; the disk.
    for (const bool of_second : {false, true}) {
      disk.holds = stage == 2;
      const Pair pair =
          StartPair(First(0, 1), Bytes(512), Second(0, 1), Pattern(512, 1), /*waits=*/true);
      HostCommand& aborted = of_second ? pair.second : pair.first;
      HostCommand& other = of_second ? pair.first : pair.second;
      world_.On(0, [&] {
        if (stage > 0) pair.first.SendWanted();
        if (stage > 1) pair.second.SendWanted();
        EXPECT_TRUE(queue_->Abort(aborted.cid()));
      });
      Spin();
      EXPECT_ENDED_WITH(aborted, kAbortRequested);
      EXPECT_ENDED_WITH(other, kAbortedFailedFused);
      EXPECT_EQ(BuffersOut(), 0u);
      disk.holds = false;
    }
  }
  EXPECT_EQ(disk.data[0], std::byte{0});
}

TEST_F(IoFusedTest, AbortedFirstMakesItsSecondOneWithoutFirst) {
  AddOddDisk();
  HostCommand& first = Start(First(0, 1), 512, Bytes(512));
  world_.On(0, [&] { EXPECT_TRUE(queue_->Abort(first.cid())); });
  HostCommand& second = Run(Second(0, 1), 512, Bytes(512));
  EXPECT_ENDED_WITH(first, kAbortRequested);
  EXPECT_ENDED_WITH(second, kAbortedMissingFused);
}

TEST_F(IoFusedTest, PairsEndWithTheirQueue) {
  OddDisk& disk = AddOddDisk();
  for (const int stage : {0, 1, 2, 3}) {
    if (queue_ == nullptr) {
      queue_ = MakeQueue();
      Connect(*queue_, 1);
    }
    disk.holds = stage == 3;
    HostCommand& first = Start(First(0, 1), 512, Bytes(512), true);
    if (stage > 0) Start(Second(0, 1), 512, Bytes(512), true);
    HostCommand& second = commands_.back();
    world_.On(0, [&] {
      if (stage > 1) first.SendWanted();
      if (stage > 2) second.SendWanted();
    });
    CloseQueue(queue_);
    EXPECT_TRUE(first.ended);
    EXPECT_TRUE(second.ended);
    EXPECT_EQ(BuffersOut(), 0u);
    disk.holds = false;
  }
}

TEST_F(IoFusedTest, PairsEndWithTheirNamespace) {
  AddOddDisk();
  const Pair pair = StartPair(First(0, 1), Bytes(512), Second(0, 1), Bytes(512), /*waits=*/true);
  world_.On(0, [&] { pair.first.SendWanted(); });
  pair.second.keeps = true;
  BeginDetach(1);
  EXPECT_FALSE(detached());
  EXPECT_EQ(pair.second.unwanted, 1);
  world_.clock.Advance(SubsystemView::kDetachPatienceNs);
  Spin();
  EXPECT_EQ(carrier_.ends_wanted, 1);
  CloseQueue(queue_);
  EXPECT_TRUE(detached());
  nsids_.clear();
}

}  // namespace
}  // namespace pollux::nvmf::io_test
