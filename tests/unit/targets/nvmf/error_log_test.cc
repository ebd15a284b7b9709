#include "targets/nvmf/error_log.h"

#include <thread>

#include "tests/unit/targets/nvmf/controller_fixture.h"
#include "tests/unit/targets/nvmf/io_fixture.h"

// The Error Information log. Base §5.16.1.2.

namespace pollux::nvmf {
namespace {

using admin_test::Bytes;
using admin_test::IsAllZero;
using admin_test::Sqe;
using admin_test::U16;
using admin_test::U32;
using admin_test::U64;
using admin_test::U8;

constexpr size_t kEntryBytes = 64;

Bytes PageOf(const ErrorLog& log) {
  const std::string page = log.LogPage();
  return Bytes(page.begin(), page.end());
}

TEST(ErrorLogTest, TheNewestComesFirst) {
  ErrorLog log;
  EXPECT_TRUE(IsAllZero(PageOf(log)));
  log.Add({.sqid = 1, .cid = 0x1234, .status_field = 0x8004, .location = 0x0528, .lba = 77});
  log.Add({.sqid = 2, .cid = 5, .nsid = 9, .trtype = 3});
  const Bytes page = PageOf(log);
  ASSERT_EQ(page.size(), 64 * kEntryBytes);
  EXPECT_EQ(U64(page, 0), 2u) << "error count";
  EXPECT_EQ(U16(page, 8), 2) << "SQID";
  EXPECT_EQ(U32(page, 24), 9u) << "NSID";
  EXPECT_EQ(U8(page, 29), 3) << "TRTYPE";
  EXPECT_EQ(U64(page, 64), 1u);
  EXPECT_EQ(U16(page, 64 + 10), 0x1234) << "CMDID";
  EXPECT_EQ(U16(page, 64 + 12), 0x8004) << "status field";
  EXPECT_EQ(U16(page, 64 + 14), 0x0528) << "parameter error location";
  EXPECT_EQ(U64(page, 64 + 16), 77u) << "LBA";
  EXPECT_TRUE(IsAllZero(page, 128));
}

TEST(ErrorLogTest, AFloodKeepsTheLast64AndTheCount) {
  ErrorLog log;
  for (uint32_t i = 1; i <= 100'000; ++i) log.Add({.lba = i});
  EXPECT_EQ(log.count(), 100'000u);
  const Bytes page = PageOf(log);
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(U64(page, i * kEntryBytes), 100'000 - i);
    EXPECT_EQ(U64(page, i * kEntryBytes + 16), 100'000 - i);
  }
}

TEST(ErrorLogTest, ClearingRemovesEntriesAndTheCountGoesOn) {
  ErrorLog log;
  log.Add({.sqid = 1});
  log.Add({.sqid = 2});
  log.Clear();
  EXPECT_TRUE(IsAllZero(PageOf(log)));
  log.Add({.sqid = 3});
  const Bytes page = PageOf(log);
  EXPECT_EQ(U64(page, 0), 3u);
  EXPECT_EQ(U16(page, 8), 3);
  EXPECT_TRUE(IsAllZero(page, kEntryBytes));
}

// Every entry that is read is one that was written whole, and no number is counted twice.
TEST(ErrorLogTest, SeveralReactorsWriteWhileOneReads) {
  constexpr uint64_t kEach = 20'000;
  ErrorLog log;
  std::atomic<int> writing{3};
  std::vector<std::thread> writers;
  for (uint16_t sqid = 1; sqid <= 3; ++sqid) {
    writers.emplace_back([&log, &writing, sqid] {
      for (uint64_t i = 0; i < kEach; ++i) {
        const uint64_t mark = sqid * 1'000'000 + i;
        log.Add({.sqid = sqid, .cid = static_cast<uint16_t>(mark), .lba = mark});
      }
      --writing;
    });
  }
  bool last = false;
  while (!last) {
    last = writing == 0;
    const Bytes page = PageOf(log);
    uint64_t before = UINT64_MAX;
    for (size_t at = 0; at < page.size(); at += kEntryBytes) {
      const uint64_t number = U64(page, at);
      if (number == 0) continue;  // It was lost, or is being written.
      ASSERT_LT(number, before);
      before = number;
      const uint64_t mark = U64(page, at + 16);
      ASSERT_EQ(U16(page, at + 8), mark / 1'000'000);
      ASSERT_EQ(U16(page, at + 10), static_cast<uint16_t>(mark));
    }
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(log.count(), 3 * kEach);
}

// --- Commands of an admin queue.

class ControllerErrorsTest : public admin_test::ControllerTest {
 protected:
  Bytes Log(uint32_t bytes = 4096, uint64_t offset = 0) {
    return GetLog({.lid = 0x01, .bytes = bytes, .offset = offset}).in;
  }
};

TEST_F(ControllerErrorsTest, IdentifySaysHowManyEntriesThereAre) {
  SetUpController();
  EXPECT_EQ(U8(Identify(0x01).in, 262), 63) << "ELPE";
}

TEST_F(ControllerErrorsTest, ACommandThatFailsSaysThatThereIsMore) {
  SetUpController();
  EXPECT_TRUE(IsAllZero(Log()));
  const auto& failed = Identify(0xff);
  EXPECT_STATUS(failed, admin_test::kBadField);
  EXPECT_TRUE(failed.more());
  EXPECT_FALSE(Identify(0x01).more());
  const Bytes page = Log();
  EXPECT_EQ(U64(page, 0), 1u);
  EXPECT_EQ(U16(page, 8), 0) << "SQID";
  EXPECT_EQ(U16(page, 10), failed.completion.cid) << "CMDID";
  EXPECT_EQ(U16(page, 12), failed.completion.status) << "status field, as it was completed";
  EXPECT_EQ(U16(page, 14), 40) << "CNS";
  EXPECT_EQ(U8(page, 29), 3) << "TRTYPE: TCP";
  EXPECT_TRUE(IsAllZero(page, kEntryBytes));
}

TEST_F(ControllerErrorsTest, TheLocationNamesTheField) {
  SetUpController();
  struct Case {
    const char* what;
    Sqe sqe;
    uint16_t location;
  };
  const Case cases[] = {{"opcode", Sqe(0x77), 0},
                        {"a log page that is not there", Sqe(0x02).Dword(10, 0x07), 40},
                        {"CNS", Sqe(0x06).Dword(10, 0x55), 40},
                        {"NSID of Identify", Sqe(0x06, 0xffffffff).Dword(10, 0x00), 4},
                        {"FID", Sqe(0x0a).Dword(10, 0x77), 40},
                        {"SEL", Sqe(0x0a).Dword(10, 0x501), 41},
                        {"SV", Sqe(0x09).Dword(10, 0x80000001), 43 | 7 << 8}};
  uint64_t count = 0;
  for (const Case& one : cases) {
    EXPECT_NE(Run(one.sqe, 4096).status(), 0) << one.what;
    const Bytes page = Log(kEntryBytes);
    EXPECT_EQ(U64(page, 0), ++count) << one.what;
    EXPECT_EQ(U16(page, 14), one.location) << one.what;
  }
}

TEST_F(ControllerErrorsTest, HealthCountsTheEntries) {
  SetUpController();
  for (int i = 0; i < 3; ++i) Identify(0xff);
  const Bytes health = GetLog({.lid = 0x02, .bytes = 512}).in;
  EXPECT_EQ(U64(health, 176), 3u) << "number of error information log entries";
}

TEST_F(ControllerErrorsTest, AnAbortedCommandIsNoError) {
  SetUpController();
  auto& request = StartEventRequest();
  Spin();
  OnReactor([&] { queue_->Abort(request.cid()); });
  Spin();
  EXPECT_STATUS(request, admin_test::kAborted);
  EXPECT_FALSE(request.more());
  EXPECT_TRUE(IsAllZero(Log()));
}

TEST_F(ControllerErrorsTest, AResetRemovesTheEntries) {
  SetUpController();
  Identify(0xff);
  PropertySet(0x14, 0);
  PropertySet(0x14, kEnable);
  EXPECT_TRUE(IsAllZero(Log()));
  Identify(0xff);
  EXPECT_EQ(U64(Log(), 0), 2u);
}

TEST_F(ControllerErrorsTest, ReadBeyondTheEndIsZero) {
  SetUpController();
  Identify(0xff);
  EXPECT_TRUE(IsAllZero(Log(128, 64 * kEntryBytes)));
  EXPECT_TRUE(IsAllZero(Log(64, 63 * kEntryBytes)));
  const auto& beyond = GetLog({.lid = 0x01, .bytes = 4, .offset = 64 * kEntryBytes + 4});
  EXPECT_STATUS(beyond, admin_test::kBadField);
}

TEST_F(ControllerErrorsTest, AFabricsCommandHasNoNamespace) {
  SetUpController();
  EXPECT_STATUS(PropertyGet(0x1003), admin_test::kBadField);
  const Bytes page = Log();
  EXPECT_EQ(U32(page, 24), 0u) << "NSID";
  EXPECT_EQ(U16(page, 14), 44) << "of the property's offset";
}

TEST_F(ControllerErrorsTest, ADiscoveryControllerHasNoLogAndSaysSo) {
  facts_.discovery = true;
  facts_.nqn = "nqn.2014-08.org.nvmexpress.discovery";
  SetUpController();
  const auto& failed = Identify(0x02);
  EXPECT_STATUS(failed, admin_test::kBadField);
  EXPECT_FALSE(failed.more());
  EXPECT_STATUS(GetLog({.lid = 0x01}), admin_test::kNoSuchLog);
}

// --- Commands of an I/O queue.

class IoErrorsTest : public io_test::IoTest {
 protected:
  uint64_t count() const { return queue_->controller()->errors->count(); }
  Bytes Log() const { return PageOf(*queue_->controller()->errors); }
};

TEST_F(IoErrorsTest, AnEntryNamesQueueBlockAndNamespace) {
  AddOddDisk().bad_lba = 5;
  EXPECT_ENDED_WITH(Read(4000, 200), nvme::status::kLbaOutOfRange | io_test::kDnr);
  EXPECT_ENDED_WITH(Read(5, 1), nvme::status::kUnrecoveredReadError);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kRead, 7), 512),
                    nvme::status::kInvalidNamespace | io_test::kDnr);
  const Bytes page = Log();
  EXPECT_EQ(U16(page, 8), 1) << "SQID";
  EXPECT_EQ(U16(page, 14), 4) << "of the NSID";
  EXPECT_EQ(U32(page, 24), 7u);
  EXPECT_EQ(U64(page, 64 + 16), 5u) << "LBA";
  EXPECT_EQ(U16(page, 64 + 14), 0xffff) << "of no field";
  EXPECT_EQ(U32(page, 64 + 24), 1u);
  EXPECT_EQ(U64(page, 128 + 16), 4000u) << "LBA";
  EXPECT_EQ(U16(page, 128 + 14), 40) << "of SLBA";
}

TEST_F(IoErrorsTest, WhatHostsExpectIsNoError) {
  AddMemoryDisk();
  Write(0, 1, 3);
  auto& compare = Run(Entry(nvme::io::kCompare, 1), 512, io_test::Pattern(512, 99));
  EXPECT_ENDED_WITH(compare, nvme::status::kCompareFailure | io_test::kDnr);
  EXPECT_FALSE(compare.more());
  SetAna(nvme::AnaState::kInaccessible);
  EXPECT_ENDED_WITH(Read(0, 1), nvme::status::kAnaInaccessible);
  EXPECT_EQ(count(), 0u);
}

TEST_F(IoErrorsTest, WhatTheTransportRefusesIsLogged) {
  AddMemoryDisk();
  io_test::HostCommand& command = Make(Entry(nvme::io::kRead, 1), 512);
  world_.On(0, [&] { queue_->Refuse(command, nvme::status::kSglTypeInvalid | io_test::kDnr); });
  EXPECT_TRUE(command.more());
  EXPECT_EQ(count(), 1u);
  EXPECT_EQ(U16(Log(), 14), 39);
}

}  // namespace
}  // namespace pollux::nvmf
