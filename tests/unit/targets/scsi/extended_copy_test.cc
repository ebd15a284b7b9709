#include <map>

#include "scsi_fixture.h"
#include "targets/scsi/copy_plan.h"
#include "targets/scsi/inquiry.h"

// EXTENDED COPY and RECEIVE COPY RESULTS.

namespace pollux::scsi {
namespace {

constexpr SenseCode kUnreachable{0xa, 0x08, 0x04};
constexpr SenseCode kNotReachable{0xa, 0x0d, 0x02};
constexpr SenseCode kDeviceFailure{0xa, 0x0d, 0x01};
constexpr uint16_t kThisUnit = 0xffff;

void Put(Bytes& bytes, size_t at, uint64_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    bytes[at + i] = static_cast<uint8_t>(value >> (8 * (count - 1 - i)));
  }
}

Bytes Cscd(const Bytes& naa, uint32_t block_bytes = 512) {
  Bytes cscd(32);
  cscd[0] = 0xe4;
  cscd[4] = 1;
  cscd[5] = 3;
  cscd[7] = static_cast<uint8_t>(naa.size());
  std::copy(naa.begin(), naa.end(), cscd.begin() + 8);
  Put(cscd, 29, block_bytes, 3);
  return cscd;
}

struct Segment {
  uint16_t from, to, blocks;
  uint64_t from_lba, to_lba;
  bool destination_counts = false;
};
Bytes Wire(const Segment& segment) {
  Bytes wire(28);
  wire[0] = 0x02;
  wire[1] = segment.destination_counts ? 2 : 0;
  Put(wire, 2, 24, 2);
  Put(wire, 4, segment.from, 2);
  Put(wire, 6, segment.to, 2);
  Put(wire, 10, segment.blocks, 2);
  Put(wire, 12, segment.from_lba, 8);
  Put(wire, 20, segment.to_lba, 8);
  return wire;
}

Bytes List(const std::vector<Bytes>& cscds, const std::vector<Segment>& segments,
           uint8_t identifier = 7) {
  Bytes list(16 + 32 * cscds.size() + 28 * segments.size());
  list[0] = identifier;
  Put(list, 2, 32 * cscds.size(), 2);
  Put(list, 8, 28 * segments.size(), 4);
  auto at = list.begin() + 16;
  for (const Bytes& cscd : cscds) at = std::copy(cscd.begin(), cscd.end(), at);
  for (const Segment& segment : segments) {
    const Bytes wire = Wire(segment);
    at = std::copy(wire.begin(), wire.end(), at);
  }
  return list;
}

Bytes CopyCdb(size_t list_bytes) {
  Bytes cdb(16);
  cdb[0] = 0x83;
  Put(cdb, 10, list_bytes, 4);
  return cdb;
}
Bytes ResultsCdb(uint8_t action, uint8_t identifier = 7) {
  Bytes cdb(16);
  cdb[0] = 0x84;
  cdb[1] = action;
  cdb[2] = identifier;
  Put(cdb, 10, 4096, 4);
  return cdb;
}

class ExtendedCopyTest : public ScsiTest {
 protected:
  // "disk" as LUN 0, "other" as LUN 1, with patterns of their own.
  void SetUpTwo(TestDisk::Options first = {}, TestDisk::Options second = {}) {
    disk_ = &AddDisk("disk", first);
    other_ = &AddDisk("other", second);
    AddLun(0);
    AddLun(1, "other");
    nexus_ = MakeNexus();
    ReadUnitAttentions(*nexus_);
    ReadUnitAttentions(*nexus_, 1);
    Fill(*disk_, 1);
    Fill(*other_, 2);
  }
  static void Fill(TestDisk& disk, uint8_t seed) {
    const Bytes pattern = Pattern(disk.data.size(), seed);
    std::memcpy(disk.data.data(), pattern.data(), pattern.size());
  }
  Bytes Naa(int lun) {
    const Bytes page = Run({0x12, 1, 0x83, 0, 255, 0}, 255, {}, lun).in;
    return {page.begin() + 8, page.begin() + 16};
  }
  TestCommand& Copy(const Bytes& list, int lun = 0) {
    return Run(CopyCdb(list.size()), 0, list, lun);
  }
  static Bytes Blocks(const TestDisk& disk, uint64_t lba, uint64_t blocks, size_t bytes = 512) {
    const auto* first = reinterpret_cast<const uint8_t*>(disk.data.data());
    return {first + lba * bytes, first + (lba + blocks) * bytes};
  }

  TestDisk* disk_ = nullptr;
  TestDisk* other_ = nullptr;
};

TEST_F(ExtendedCopyTest, SegmentsAreCopiedInTheirOrder) {
  SetUpTwo();
  const std::vector<Bytes> both{Cscd(Naa(0)), Cscd(Naa(1))};
  const Bytes source = Blocks(*disk_, 10, 100), before = Blocks(*other_, 0, 1024);
  const std::vector<Segment> segments{
      {0, 1, 100, 10, 500}, {1, 0, 50, 500, 900}, {0, 0, 1, 900, 0}};
  EXPECT_GOOD(Copy(List(both, segments)));
  EXPECT_EQ(Blocks(*other_, 500, 100), source);
  EXPECT_EQ(Blocks(*disk_, 900, 50), Bytes(source.begin(), source.begin() + 50 * 512));
  EXPECT_EQ(Blocks(*disk_, 0, 1), Bytes(source.begin(), source.begin() + 512));
  EXPECT_EQ(Blocks(*other_, 0, 500), Bytes(before.begin(), before.begin() + 500 * 512));
  EXPECT_EQ(Blocks(*other_, 600, 424), Bytes(before.begin() + 600 * 512, before.end()));
  // Sent to any of the units, and with none in the list but the one that it is sent to.
  EXPECT_GOOD(Copy(List(both, {{0, 1, 16, 0, 0}}), 1));
  EXPECT_EQ(Blocks(*other_, 0, 16), Blocks(*disk_, 0, 16));
  EXPECT_GOOD(Copy(List({}, {{kThisUnit, kThisUnit, 4, 100, 200}})));
  EXPECT_EQ(Blocks(*disk_, 200, 4), Blocks(*disk_, 100, 4));
  EXPECT_GOOD(Copy(List(both, {{0, 1, 0, 0, 1024}})));  // No blocks.
  EXPECT_GOOD(Copy(List(both, {})));
  EXPECT_GOOD(Copy({}));
}

TEST_F(ExtendedCopyTest, ASegmentThatOverlapsItselfMovesAsItWas) {
  SetUpTwo();
  for (const auto& [from, to] : {std::pair<uint64_t, uint64_t>{100, 120}, {120, 100}, {100, 100}}) {
    Fill(*disk_, 5);
    const Bytes source = Blocks(*disk_, from, 300);
    EXPECT_GOOD(Copy(List({Cscd(Naa(0))}, {{0, 0, 300, from, to}})));
    EXPECT_EQ(Blocks(*disk_, to, 300), source) << from << " to " << to;
  }
}

TEST_F(ExtendedCopyTest, UnitsMayHaveBlocksOfOtherSizes) {
  SetUpTwo({}, {.blocks = 128, .block_bytes = 4096});
  const std::vector<Bytes> both{Cscd(Naa(0)), Cscd(Naa(1), 4096)};
  EXPECT_GOOD(Copy(List(both, {{0, 1, 24, 3, 5}})));
  EXPECT_EQ(Blocks(*other_, 5, 3, 4096), Blocks(*disk_, 3, 24));
  EXPECT_GOOD(Copy(List(both, {{0, 1, 4, 40, 9, /*destination_counts=*/true}})));
  EXPECT_EQ(Blocks(*other_, 9, 4, 4096), Blocks(*disk_, 40, 32));
  EXPECT_GOOD(Copy(List(both, {{1, 0, 2, 5, 1000}})));
  EXPECT_EQ(Blocks(*disk_, 1000, 16), Blocks(*disk_, 3, 16));
  EXPECT_EQ(SenseOf(Copy(List(both, {{0, 1, 23, 3, 5}}))), (SenseCode{0xa, 0x26, 0x0a}));
  // Somebody who is wrong of the size would copy something else than he means.
  EXPECT_EQ(PointerOf(Copy(List({Cscd(Naa(0)), Cscd(Naa(1))}, {{0, 1, 8, 0, 0}}))),
            (Pointer{16 + 32 + 29, -1, false}));
  EXPECT_GOOD(Copy(List({Cscd(Naa(0), 0), Cscd(Naa(1), 0)}, {{0, 1, 8, 0, 0}})));
}

TEST_F(ExtendedCopyTest, OnlyUnitsOfTheTargetAreReached) {
  SetUpTwo();
  // A disk that this process has, and this target has not.
  Bytes secret(8);
  Put(secret, 0, NaaOf(AddDisk("secret").uuid()), 8);
  const Bytes here = Cscd(Naa(0)), unknown = Cscd(secret);
  TestCommand& refused = Copy(List({here, unknown}, {{0, 1, 1, 0, 0}}));
  EXPECT_EQ(SenseOf(refused), kNotReachable);
  EXPECT_EQ(PointerOf(refused), (Pointer{16 + 64 + 6, -1, false}));
  EXPECT_EQ(SenseOf(Copy(List({here, unknown}, {{1, 0, 1, 0, 0}}))), kNotReachable);
  Bytes old = here;  // LU ID TYPE and NUL, of other descriptors and other times.
  old[1] = 0xe0;
  EXPECT_GOOD(Copy(List({old}, {{0, 0, 1, 0, 5}})));
  Bytes port = here;  // The NAA of a target port, and a name in ASCII.
  port[5] = 0x13;
  EXPECT_EQ(SenseOf(Copy(List({port}, {{0, 0, 1, 0, 1}}))), kNotReachable);
  Bytes ascii = here;
  ascii[4] = 2;
  EXPECT_EQ(SenseOf(Copy(List({ascii}, {{0, 0, 1, 0, 1}}))), kNotReachable);
  EXPECT_EQ(SenseOf(Copy(List({here}, {{0, 1, 1, 0, 0}}))), kUnreachable);
  EXPECT_EQ(SenseOf(Copy(List({here}, {{0xfffe, 0, 1, 0, 0}}))), kUnreachable);
}

TEST_F(ExtendedCopyTest, TheListIsChecked) {
  SetUpTwo();
  const Bytes cscd = Cscd(Naa(0));
  const Bytes good = List({cscd}, {{0, 0, 1, 0, 5}});
  for (size_t cut = 1; cut < good.size(); ++cut) {
    EXPECT_EQ(SenseOf(Copy(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(cut)))),
              kListLength);
  }
  const auto with = [&good](size_t at, uint8_t value) {
    Bytes list = good;
    list[at] = value;
    return list;
  };
  EXPECT_EQ(PointerOf(Copy(with(1, 0x08))), (Pointer{1, 4, false}));    // LIST ID USAGE
  EXPECT_EQ(PointerOf(Copy(with(1, 0x18))), (Pointer{0, -1, false}));   // With an identifier.
  EXPECT_EQ(PointerOf(Copy(with(3, 31))), (Pointer{2, -1, false}));     // No whole CSCD.
  EXPECT_EQ(PointerOf(Copy(with(11, 27))), (Pointer{8, -1, false}));    // No whole segment.
  EXPECT_EQ(PointerOf(Copy(with(15, 1))), (Pointer{12, -1, false}));    // Inline data.
  EXPECT_EQ(PointerOf(Copy(with(17, 0x01))), (Pointer{17, 4, false}));  // A tape.
  EXPECT_EQ(PointerOf(Copy(with(23, 21))), (Pointer{23, -1, false}));   // DESIGNATOR LENGTH
  EXPECT_EQ(PointerOf(Copy(with(16 + 32 + 3, 25))), (Pointer{50, -1, false}));
  EXPECT_EQ(SenseOf(Copy(with(16, 0xe0))), (SenseCode{0x5, 0x26, 0x07}));
  EXPECT_EQ(SenseOf(Copy(with(16 + 32, 0x03))), (SenseCode{0x5, 0x26, 0x09}));
  EXPECT_EQ(SenseOf(Copy(List(std::vector<Bytes>(9, cscd), {}))), (SenseCode{0x5, 0x26, 0x06}));
  EXPECT_EQ(SenseOf(Copy(List({}, std::vector<Segment>(65, {kThisUnit, kThisUnit, 1, 0, 0})))),
            (SenseCode{0x5, 0x26, 0x08}));
  EXPECT_EQ(SenseOf(Copy(List(std::vector<Bytes>(8, cscd), std::vector<Segment>(65)))),
            kListLength);
  EXPECT_GOOD(Copy(List(std::vector<Bytes>(8, cscd), std::vector<Segment>(64))));
}

TEST_F(ExtendedCopyTest, FailuresSayWhichSegmentAndHowMuchIsLeft) {
  SetUpTwo();
  const std::vector<Bytes> both{Cscd(Naa(0)), Cscd(Naa(1))};
  const auto expect = [this](TestCommand& command, SenseCode code, uint8_t segment, uint32_t left) {
    EXPECT_EQ(SenseOf(command), code);
    EXPECT_EQ(BigEndian(Bytes(command.sense.begin(), command.sense.end()), 8, 4), segment);
    EXPECT_EQ(BigEndian(Bytes(command.sense.begin(), command.sense.end()), 3, 4), left);
  };
  constexpr SenseCode kAborted{0xa, 0, 0};
  const Segment fine{0, 1, 1, 0, 0};
  expect(Copy(List(both, {fine, {0, 1, 2, 1023, 0}})), kAborted, 1, 1024);
  expect(Copy(List(both, {fine, fine, {0, 1, 2, 0, 1023}})), kAborted, 2, 1024);
  expect(Copy(List(both, {{0, 1, 1, UINT64_MAX, 0}})), kAborted, 0, 512);
  disk_->bad_lba = 40;  // In the third burst of 16 blocks.
  expect(Copy(List(both, {fine, {0, 1, 100, 0, 0}})), kDeviceFailure, 1, 68 * 512);
  disk_->bad_lba = UINT64_MAX;
  other_->bad_lba = 20;
  expect(Copy(List(both, {{0, 1, 100, 0, 0}})), kDeviceFailure, 0, 84 * 512);
}

TEST_F(ExtendedCopyTest, NothingIsCopiedToAProtectedUnit) {
  SetUpTwo({}, {.read_only = true});
  const std::vector<Bytes> both{Cscd(Naa(0)), Cscd(Naa(1))};
  EXPECT_EQ(SenseOf(Copy(List(both, {{0, 1, 1, 0, 0}}))), kDeviceFailure);
  EXPECT_EQ(other_->writes, 0);
  EXPECT_GOOD(Copy(List(both, {{1, 0, 1, 0, 0}})));
}

TEST_F(ExtendedCopyTest, ReservationsOfBothUnitsHold) {
  SetUpTwo();
  const std::vector<Bytes> both{Cscd(Naa(0)), Cscd(Naa(1))};
  const Bytes list = List(both, {{0, 1, 1, 0, 0}});
  std::unique_ptr<Nexus> owner = MakeNexus();
  for (const int lun : {0, 1}) {
    ReadUnitAttentions(*owner, lun);
    TestCommand& reserve = Start(*owner, {0x16, 0, 0, 0, 0, 0}, 0, {}, lun);
    Spin();
    EXPECT_GOOD(reserve);
    TestCommand& copy = Copy(list);
    if (lun == 0) {
      EXPECT_EQ(copy.status, ScsiStatus::kReservationConflict);
    } else {
      EXPECT_EQ(SenseOf(copy), kDeviceFailure);
    }
    TestCommand& release = Start(*owner, {0x17, 0, 0, 0, 0, 0}, 0, {}, lun);
    Spin();
    EXPECT_GOOD(release);
  }
  EXPECT_EQ(other_->writes, 0);
  EXPECT_GOOD(Copy(list));
  Destroy(owner);
}

TEST_F(ExtendedCopyTest, AUnitThatGoesOnTheWayEndsTheCopy) {
  SetUpTwo();
  other_->holds = true;
  const Bytes list = List({Cscd(Naa(0)), Cscd(Naa(1))}, {{0, 1, 100, 0, 0}});
  TestCommand& copy = Start(*nexus_, CopyCdb(list.size()), 0, list);
  Spin();
  ASSERT_EQ(other_->held.size(), 1u);
  Task<Status> removal = target_->RemoveLun(1);
  StartOnControl(removal);
  Spin();
  EXPECT_FALSE(removal.done());  // The burst is still on its way.
  other_->holds = false;
  other_->ReleaseHeld();
  Spin();
  EXPECT_TRUE(removal.done());
  EXPECT_EQ(SenseOf(copy), kNotReachable);
  EXPECT_EQ(other_->writes, 1);
  ReadUnitAttentions(*nexus_);
  EXPECT_EQ(BigEndian(Run(ResultsCdb(0)).in, 8, 4), 16 * 512u);
}

TEST_F(ExtendedCopyTest, AnAbortStopsItWhereItIs) {
  SetUpTwo();
  other_->holds = true;
  const Bytes list = List({Cscd(Naa(0)), Cscd(Naa(1))}, {{0, 1, 100, 0, 0}});
  TestCommand& copy = Start(*nexus_, CopyCdb(list.size()), 0, list);
  Spin();
  TestCommand& elsewhere = Start(*nexus_, ResultsCdb(0), 64, {}, 1);
  Spin();
  EXPECT_EQ(PointerOf(elsewhere), (Pointer{2, -1}));  // Identifiers are those of one unit.
  TestCommand& status = Start(*nexus_, ResultsCdb(0), 64);
  Spin();
  EXPECT_EQ(status.in, (Bytes{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}));  // Under way.
  TestCommand& twice = Start(*nexus_, CopyCdb(list.size()), 0, list);
  Spin();
  EXPECT_EQ(SenseOf(twice), (SenseCode{0x5, 0x00, 0x16}));
  Abort(copy);
  Spin();
  EXPECT_EQ(copy.status, ScsiStatus::kTaskAborted);
  EXPECT_EQ(Run(ResultsCdb(0)).in.at(4), 2);
}

TEST_F(ExtendedCopyTest, ResultsAreToldOnce) {
  SetUpTwo();
  const std::vector<Bytes> both{Cscd(Naa(0)), Cscd(Naa(1))};
  EXPECT_EQ(PointerOf(Run(ResultsCdb(0))), (Pointer{2, -1}));
  EXPECT_GOOD(Copy(List(both, {{0, 1, 100, 0, 0}, {0, 1, 1, 0, 0}})));
  EXPECT_EQ(Run(ResultsCdb(4)).in, Bytes(4));  // No details.
  EXPECT_EQ(Run(ResultsCdb(0)).in, (Bytes{0, 0, 0, 8, 1, 0, 2, 0, 0, 0, 0xca, 0}));
  EXPECT_EQ(PointerOf(Run(ResultsCdb(0))), (Pointer{2, -1}));

  disk_->bad_lba = 40;
  TestCommand& failed = Copy(List(both, {{0, 1, 100, 0, 0}}, 9));
  EXPECT_EQ(SenseOf(failed), kDeviceFailure);
  EXPECT_EQ(Run(ResultsCdb(0, 9)).in, (Bytes{0, 0, 0, 8, 2, 0, 0, 0, 0, 0, 0x40, 0}));
  const Bytes details = Run(ResultsCdb(4, 9)).in;
  ASSERT_EQ(details.size(), 78u);
  EXPECT_EQ(BigEndian(details, 0, 4), 74u);
  EXPECT_EQ(details[56], 2);
  EXPECT_EQ(BigEndian(details, 58, 2), 18u);
  EXPECT_EQ(Bytes(details.begin() + 60, details.end()),
            Bytes(failed.sense.begin(), failed.sense.begin() + 18));
  EXPECT_EQ(PointerOf(Run(ResultsCdb(4, 9))), (Pointer{2, -1}));
  disk_->bad_lba = UINT64_MAX;

  // Without an identifier nothing is kept; else no more than the last ones.
  Bytes silent = List(both, {{0, 1, 1, 0, 0}}, 0);
  silent[1] = 0x18;
  EXPECT_GOOD(Copy(silent));
  EXPECT_EQ(PointerOf(Run(ResultsCdb(0, 0))), (Pointer{2, -1}));
  for (uint8_t i = 0; i < 40; ++i) EXPECT_GOOD(Copy(List(both, {{0, 1, 1, 0, 0}}, i)));
  EXPECT_EQ(PointerOf(Run(ResultsCdb(0, 7))), (Pointer{2, -1}));
  EXPECT_EQ(Run(ResultsCdb(0, 8)).in.at(4), 1);
}

TEST_F(ExtendedCopyTest, LimitsAreReportedInBothPlaces) {
  SetUpTwo();
  const Bytes parameters = Run(ResultsCdb(3)).in;
  ASSERT_EQ(parameters.size(), 46u);
  EXPECT_EQ(BigEndian(parameters, 0, 4), 42u);
  EXPECT_EQ(BigEndian(parameters, 8, 2), CopyPlan::kCscdsMax);
  EXPECT_EQ(BigEndian(parameters, 10, 2), CopyPlan::kSegmentsMax);
  EXPECT_EQ(BigEndian(parameters, 12, 4), CopyPlan::kDescriptorBytesMax);
  EXPECT_EQ(BigEndian(parameters, 16, 4), 65535u * 512);
  EXPECT_EQ(parameters[37], 9);
  EXPECT_EQ(Bytes(parameters.begin() + 43, parameters.end()), (Bytes{2, 0x02, 0xe4}));
  EXPECT_EQ(Run({0x12, 0, 0, 0, 96, 0}).in.at(5), 0x18);  // TPGS, 3PC

  const Bytes page = Run({0x12, 1, 0x8f, 0, 255, 0}).in;
  ASSERT_GE(page.size(), 4u);
  ASSERT_EQ(BigEndian(page, 2, 2), page.size() - 4);
  std::map<uint64_t, Bytes> descriptors;
  for (size_t at = 4; at < page.size();) {
    const size_t length = BigEndian(page, at + 2, 2);
    EXPECT_EQ(length % 4, 0u);
    const auto first = page.begin() + static_cast<ptrdiff_t>(at + 4);
    descriptors[BigEndian(page, at, 2)] = {first, first + static_cast<ptrdiff_t>(length)};
    at += 4 + length;
  }
  EXPECT_EQ(descriptors.at(0x0001), (Bytes{8, 0x83, 1, 0, 0x84, 3, 0, 3, 4, 0, 0, 0}));
  EXPECT_EQ(descriptors.at(0x0008), (Bytes{2, 0x02, 0xe4, 0}));
  EXPECT_EQ(descriptors.at(0x000c), (Bytes{0, 2, 0xff, 0xff}));
  EXPECT_EQ(BigEndian(descriptors.at(0x0004), 4, 2), CopyPlan::kCscdsMax);
  EXPECT_EQ(descriptors.at(0x8001).size(), 32u);
}

}  // namespace
}  // namespace pollux::scsi
