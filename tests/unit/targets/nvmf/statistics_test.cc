#include "targets/nvmf/past_hosts.h"
#include "tests/unit/targets/nvmf/io_fixture.h"
#include "tests/unit/targets/nvmf/target_fixture.h"

// What is counted of subsystems, their namespaces and their hosts.

namespace pollux::nvmf {
namespace {

uint64_t Of(const CommandTotals& totals, Failure failure) {
  return totals.failures[static_cast<size_t>(failure)];
}

TEST(FailureTest, StatusesAreOfAKind) {
  using namespace nvme::status;
  const std::pair<uint16_t, Failure> cases[] = {
      {kInvalidOpcode | kDnrBit, Failure::kCommand},
      {kInvalidNamespace | kDnrBit, Failure::kCommand},
      {kLbaOutOfRange | kDnrBit, Failure::kCommand},
      {kInvalidLogPage | kDnrBit, Failure::kCommand},
      {kNamespaceWriteProtected | kDnrBit, Failure::kCommand},
      {kUnrecoveredReadError, Failure::kMedia},
      {kWriteFault, Failure::kMedia},
      {kCapacityExceeded | kDnrBit, Failure::kMedia},
      {kGuardCheckError, Failure::kProtection},
      {kApplicationTagCheckError, Failure::kProtection},
      {kReferenceTagCheckError, Failure::kProtection},
      {kCompareFailure | kDnrBit, Failure::kMiscompare},
      {kAbortRequested, Failure::kAborted},
      {kAbortedSqDeletion, Failure::kAborted},
      {kCommandInterrupted, Failure::kAborted},
      {kAnaInaccessible, Failure::kPath},
      {kAnaTransition, Failure::kPath},
      {kInternalError, Failure::kInternal},
      {0x7ff, Failure::kInternal}};
  for (const auto& [status, failure] : cases) EXPECT_EQ(FailureOf(status), failure) << status;
}

// --- By namespace, on one reactor.

class NamespaceCountersTest : public io_test::IoTest {};

TEST_F(NamespaceCountersTest, EachNamespaceCountsItsOwn) {
  AddMemoryDisk(1);
  AddMemoryDisk(2);
  Write(0, 8, 1);
  Read(0, 4);
  Read(0, 2);
  Run(Entry(nvme::io::kRead, 2, 0, 1), 512);
  Run(Entry(nvme::io::kFlush, 1));
  const CommandTotals one = CountedOf(1), two = CountedOf(2);
  EXPECT_EQ(one.reads, 2u);
  EXPECT_EQ(one.bytes_read, 6u * 512);
  EXPECT_EQ(one.writes, 1u);
  EXPECT_EQ(one.bytes_written, 8u * 512);
  EXPECT_EQ(one.others, 1u);
  EXPECT_EQ(one.failed(), 0u);
  EXPECT_EQ(two.reads, 1u);
  EXPECT_EQ(two.ended(), 1u);
}

TEST_F(NamespaceCountersTest, FailuresCountByTheirKind) {
  AddOddDisk(1).bad_lba = 9;
  Read(9, 1);
  Read(100'000, 1);
  Run(Entry(nvme::io::kCompare, 1), 512, io_test::Pattern(512, 77));
  SetAna(nvme::AnaState::kInaccessible);
  Read(0, 1);
  const CommandTotals totals = CountedOf(1);
  EXPECT_EQ(Of(totals, Failure::kMedia), 1u);
  EXPECT_EQ(Of(totals, Failure::kCommand), 1u);
  EXPECT_EQ(Of(totals, Failure::kMiscompare), 1u);
  EXPECT_EQ(Of(totals, Failure::kPath), 1u);
  EXPECT_EQ(totals.failed(), 4u);
  EXPECT_EQ(totals.reads, 0u) << "what fails is not a read that was done";
  EXPECT_EQ(totals.bytes_read, 0u);
}

TEST_F(NamespaceCountersTest, ACommandForNoNamespaceIsItsQueuesAlone) {
  AddMemoryDisk(1);
  Run(Entry(nvme::io::kRead, 7), 512);
  EXPECT_EQ(CountedOf(1).ended(), 0u);
  EXPECT_EQ(Counted().failed(), 1u);
}

// --- By host, on several reactors.

class StatisticsTest : public target_test::TargetTest {
 protected:
  StatisticsTest() {
    Start();
    EXPECT_TRUE(Create().ok() && Listen().ok());
    AddDisk("disk");
    EXPECT_TRUE(AddNs("disk").ok());
  }
  SubsystemStatistics Counted() { return target_->Statistics(target_test::kNqn)->front(); }
  // Reads the first block `count` times through an I/O queue of its own.
  void ReadThrough(target_test::HostQueue& io, int count) {
    for (int i = 0; i < count; ++i) {
      const auto& read = Submit(io, target_test::Sqe(nvme::io::kRead, 1), 512);
      EXPECT_EQ(read.status(), 0);
    }
  }
};

TEST_F(StatisticsTest, HostsCountOverAllTheirQueues) {
  target_test::HostQueue* admin = nullptr;
  const Who who;
  const uint16_t cntlid = MakeController(admin, who);
  Who elsewhere = who;
  for (uint16_t qid = 1; qid <= 2; ++qid) {
    elsewhere.reactor = qid - 1u;
    target_test::HostQueue& io = Connection(elsewhere);
    ASSERT_EQ(Connect(io, elsewhere, qid, cntlid).status(), 0);
    ReadThrough(io, 3);
  }
  const SubsystemStatistics counted = Counted();
  EXPECT_EQ(counted.nqn, target_test::kNqn);
  ASSERT_EQ(counted.hosts.size(), 1u);
  EXPECT_EQ(counted.hosts[0].hostnqn, target_test::kHost);
  EXPECT_EQ(counted.hosts[0].controllers, 1u);
  EXPECT_EQ(counted.hosts[0].totals.reads, 6u);
  EXPECT_EQ(counted.hosts[0].totals.bytes_read, 6u * 512);
  ASSERT_EQ(counted.namespaces.size(), 1u);
  EXPECT_EQ(counted.namespaces[0].nsid, 1u);
  EXPECT_EQ(counted.namespaces[0].bdev_name, "disk");
  EXPECT_EQ(counted.namespaces[0].totals.reads, 6u);
}

TEST_F(StatisticsTest, AHostThatIsGoneIsRemembered) {
  const Who who;
  for (uint64_t round = 1; round <= 3; ++round) {
    target_test::HostQueue* admin = nullptr;
    const uint16_t cntlid = MakeController(admin, who);
    target_test::HostQueue& io = Connection(who);
    ASSERT_EQ(Connect(io, who, 1, cntlid).status(), 0);
    ReadThrough(io, 2);
    Close(io);
    Close(*admin);
    const SubsystemStatistics counted = Counted();
    ASSERT_EQ(counted.hosts.size(), 1u);
    EXPECT_EQ(counted.hosts[0].controllers, 0u);
    EXPECT_EQ(counted.hosts[0].totals.reads, 2 * round);
  }
}

TEST_F(StatisticsTest, ANamespaceCountsOnWhenItsDiskComesBack) {
  target_test::HostQueue* admin = nullptr;
  const Who who;
  const uint16_t cntlid = MakeController(admin, who);
  target_test::HostQueue& io = Connection(who);
  ASSERT_EQ(Connect(io, who, 1, cntlid).status(), 0);
  ReadThrough(io, 2);
  ASSERT_TRUE(RemoveDisk("disk").ok());
  EXPECT_EQ(Counted().namespaces.at(0).totals.reads, 2u);
  AddDisk("disk");
  Spin();
  ReadThrough(io, 1);
  EXPECT_EQ(Counted().namespaces.at(0).totals.reads, 3u);
}

TEST_F(StatisticsTest, SubsystemsAreListedWithoutDiscovery) {
  EXPECT_EQ(target_->Statistics("")->size(), 1u);
  EXPECT_FAILS(target_->Statistics(nvme::kDiscoveryNqn).status(), EPERM);
  EXPECT_FAILS(target_->Statistics("nqn.2026-01.test:none").status(), ENOENT);
}

TEST(PastHostsTest, TheOneAwayLongestGivesWay) {
  PastHosts past;
  CommandTotals one;
  one.reads = 1;
  past.Add("first", one);
  past.Add("second", one);
  past.Add("first", one);
  for (size_t i = 0; i < PastHosts::kHostsMax - 2; ++i) past.Add("host" + std::to_string(i), one);
  EXPECT_EQ(past.all().size(), PastHosts::kHostsMax);
  past.Add("one too many", one);
  EXPECT_EQ(past.all().size(), PastHosts::kHostsMax);
  EXPECT_FALSE(past.all().contains("second"));
  EXPECT_EQ(past.all().at("first").totals.reads, 2u);
}

}  // namespace
}  // namespace pollux::nvmf
