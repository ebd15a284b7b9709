#include "scsi_fixture.h"

// Capacity, mode pages, sense, and what the unit says of itself.

namespace pollux::scsi {
namespace {

class UnitStateTest : public ScsiTest {};

TEST_F(UnitStateTest, CapacityInBothForms) {
  SetUp0();
  EXPECT_EQ(Run({0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}).in, (Bytes{0, 0, 3, 0xff, 0, 0, 2, 0}));
  Bytes expected{0, 0, 0, 0, 0, 0, 3, 0xff, 0, 0, 2, 0, 0, 3, 0xc0, 0};
  expected.resize(32);
  EXPECT_EQ(Run({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0}).in, expected);
  EXPECT_EQ(Run({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0}).in.size(), 12u);
  EXPECT_EQ(SenseOf(Run({0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0})), kInvalidField);
  TestCommand& wrong_action = Run({0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0});
  EXPECT_EQ(SenseOf(wrong_action), kInvalidField);
  EXPECT_EQ(PointerOf(wrong_action), (Pointer{1, 4}));
}

TEST_F(UnitStateTest, AllModePages) {
  SetUp0({.volatile_cache = true});
  const Bytes pages{0x08, 0x12, 0x04, 0,    0,    0,    0,    0,    0,    0, 0,    0, 0, 0,    0,
                    0,    0,    0,    0,    0,    0x0a, 0x0a, 0x02, 0x10, 0, 0x40, 0, 0, 0xff, 0xff,
                    0,    0,    0x1c, 0x0a, 0x08, 0,    0,    0,    0,    0, 0,    0, 0, 0};
  Bytes six{55, 0, 0x10, 8, 0, 0, 4, 0, 0, 0, 2, 0};
  six.insert(six.end(), pages.begin(), pages.end());
  EXPECT_EQ(Run({0x1a, 0, 0x3f, 0, 255, 0}).in, six);
  Bytes ten{0, 66, 0, 0x10, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0};
  ten.insert(ten.end(), pages.begin(), pages.end());
  EXPECT_EQ(Run({0x5a, 0x10, 0x3f, 0, 0, 0, 0, 1, 0, 0}).in, ten);
}

TEST_F(UnitStateTest, ModeSenseOfOnePage) {
  SetUp0({.read_only = true});
  EXPECT_EQ(Run({0x1a, 8, 0x1c, 0, 255, 0}).in,
            (Bytes{15, 0, 0x90, 0, 0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(Run({0x1a, 8, 0x4a, 0, 255, 0}).in,  // Changeable: D_SENSE and SWP.
            (Bytes{15, 0, 0x90, 0, 0x0a, 0x0a, 0x04, 0, 8, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(Run({0x1a, 8, 0x1c, 0, 3, 0}).in, (Bytes{15, 0, 0x90}));
  EXPECT_EQ(SenseOf(Run({0x1a, 8, 0xdc, 0, 255, 0})), (SenseCode{0x5, 0x39, 0x00}));
  EXPECT_EQ(PointerOf(Run({0x1a, 8, 0x01, 0, 255, 0})), (Pointer{2, 5}));
  EXPECT_EQ(PointerOf(Run({0x1a, 8, 0x0a, 1, 255, 0})), (Pointer{3, -1}));
}

// MODE SELECT(6) of the control page alone.
const Bytes kSelectControl{0x15, 0x10, 0, 0, 16, 0};
Bytes ControlList(uint8_t flags2, uint8_t flags4 = 0) {
  return {0, 0, 0, 0, 0x0a, 0x0a, flags2, 0x10, flags4, 0x40, 0, 0, 0xff, 0xff, 0, 0};
}
constexpr SenseCode kModeChanged{0x6, 0x2a, 0x01};

TEST_F(UnitStateTest, DSenseIsChangedByModeSelectForAllNexuses) {
  SetUp0();
  std::unique_ptr<Nexus> other = MakeNexus();
  ReadUnitAttentions(*other);
  EXPECT_GOOD(Run(kSelectControl, 0, ControlList(0x06)));
  EXPECT_EQ(Run({0x1a, 8, 0x0a, 0, 255, 0}).in.at(6), 0x06);
  EXPECT_EQ(Run({0x1a, 8, 0x8a, 0, 255, 0}).in.at(6), 0x02);  // The default stays.

  TestCommand& described = Run({0x28, 0xe0, 0, 0, 0, 0, 0, 0, 1, 0});
  EXPECT_EQ(described.sense_bytes, 16u);
  EXPECT_EQ(Bytes(described.sense.begin(), described.sense.begin() + 16),
            (Bytes{0x72, 0x05, 0x24, 0, 0, 0, 0, 8, 0x02, 6, 0, 0, 0xcf, 0, 1, 0}));
  // The others hear of it, once, and only of what is new.
  const Bytes ready{0x00, 0, 0, 0, 0, 0};
  TestCommand& hears = Start(*other, ready, 0);
  Spin();
  EXPECT_EQ(SenseOf(hears), kModeChanged);
  EXPECT_EQ(hears.sense[0], 0x72);
  EXPECT_GOOD(Run(kSelectControl, 0, ControlList(0x06)));
  TestCommand& nothing_new = Start(*other, ready, 0);
  Spin();
  EXPECT_GOOD(nothing_new);
  Destroy(other);
}

TEST_F(UnitStateTest, SwpProtectsFromTheWritesOfAllNexuses) {
  SetUp0();
  std::unique_ptr<Nexus> other = MakeNexus();
  ReadUnitAttentions(*other);
  EXPECT_GOOD(Run(kSelectControl, 0, ControlList(0x02, 0x08)));
  EXPECT_EQ(Run({0x1a, 8, 0x0a, 0, 255, 0}).in.at(2), 0x90);  // WP, DPOFUA
  EXPECT_EQ(Run({0x1a, 8, 0x0a, 0, 255, 0}).in.at(8), 0x08);
  ReadUnitAttentions(*other);
  constexpr SenseCode kProtected{0x7, 0x27, 0x00};
  const Bytes block(512, 0xaa);
  for (Nexus* nexus : {nexus_.get(), other.get()}) {
    for (const auto& [cdb, out] : std::initializer_list<std::pair<Bytes, Bytes>>{
             {Cdb10(0x2a, 0, 1), block},           // WRITE
             {Cdb10(0x2e, 0, 1), block},           // WRITE AND VERIFY
             {Cdb10(0x41, 0, 1), block},           // WRITE SAME
             {Cdb10(0x42, 0, 24), Bytes(24)},      // UNMAP
             {Cdb16(0x8b, 0, 1), block},           // ORWRITE
             {Cdb16(0x89, 0, 0), Bytes(1024)}}) {  // COMPARE AND WRITE
      Bytes command = cdb;
      if (cdb[0] == 0x89) command[13] = 1;
      TestCommand& refused = Start(*nexus, command, 0, out);
      Spin();
      EXPECT_EQ(SenseOf(refused), kProtected) << "opcode " << int{cdb[0]};
    }
    TestCommand& read = Start(*nexus, Cdb10(0x28, 0, 1), 512);
    Spin();
    EXPECT_GOOD(read);
  }
  EXPECT_GOOD(Run(kSelectControl, 0, ControlList(0x02)));
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 1), 0, block));
  Destroy(other);
}

TEST_F(UnitStateTest, ModeSelectRefusesWhatCannotBeChanged) {
  SetUp0();
  const Bytes good{0, 0, 0, 8, 0, 0, 4, 0, 0, 0, 2, 0, 0x08, 0x12, 0, 0,
                   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0,    0, 0};
  const auto select = [&](const Bytes& list) -> TestCommand& {
    return Run({0x15, 0x10, 0, 0, static_cast<uint8_t>(list.size()), 0}, 0, list);
  };
  EXPECT_GOOD(select(good));
  const auto with = [&good](size_t at, uint8_t value) {
    Bytes list = good;
    list[at] = value;
    return list;
  };
  const auto points_at = [&](size_t at, uint8_t value, Pointer pointer) {
    TestCommand& command = select(with(at, value));
    EXPECT_EQ(SenseOf(command), kInvalidParameter) << "byte " << at;
    EXPECT_EQ(PointerOf(command), pointer);
  };
  points_at(1, 1, {1, -1, false});      // MEDIUM TYPE
  points_at(3, 16, {3, -1, false});     // BLOCK DESCRIPTOR LENGTH
  points_at(7, 1, {4, -1, false});      // NUMBER OF BLOCKS
  points_at(10, 4, {9, -1, false});     // BLOCK LENGTH
  points_at(12, 0x09, {12, 5, false});  // No such page.
  points_at(12, 0x48, {12, 5, false});  // Subpage format.
  points_at(13, 0x11, {13, -1, false});
  points_at(14, 0x04, {14, -1, false});  // WCE
  for (size_t cut = 1; cut < good.size(); ++cut) {
    TestCommand& command = select(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(cut)));
    if (cut == 12) {  // Header and block descriptor, and no page.
      EXPECT_GOOD(command);
    } else {
      EXPECT_EQ(SenseOf(command), kListLength) << "cut at " << cut;
    }
  }
  EXPECT_EQ(PointerOf(Run({0x15, 0, 0, 0, 4, 0}, 0, Bytes(4))), (Pointer{1, 4}));     // PF
  EXPECT_EQ(PointerOf(Run({0x15, 0x11, 0, 0, 4, 0}, 0, Bytes(4))), (Pointer{1, 0}));  // SP
  EXPECT_GOOD(Run({0x15, 0x10, 0, 0, 0, 0}, 0, {}));
  EXPECT_GOOD(Run({0x55, 0x10, 0, 0, 0, 0, 0, 0, 8, 0}, 0, Bytes(8)));
}

TEST_F(UnitStateTest, RequestSenseInBothFormats) {
  SetUp0();
  Bytes fixed{0x70, 0, 0, 0, 0, 0, 0, 10};
  fixed.resize(18);
  EXPECT_EQ(Run({0x03, 0, 0, 0, 252, 0}).in, fixed);
  EXPECT_EQ(Run({0x03, 1, 0, 0, 252, 0}).in, (Bytes{0x72, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(Run({0x03, 0, 0, 0, 4, 0}).in.size(), 4u);
  TestCommand& nowhere = Run({0x03, 1, 0, 0, 252, 0}, 252, {}, 9);
  EXPECT_EQ(nowhere.in, (Bytes{0x72, 0x05, 0x25, 0, 0, 0, 0, 0}));
}

TEST_F(UnitStateTest, CommandsAboutTheMedium) {
  TestDisk& disk = SetUp0();
  EXPECT_GOOD(Run({0x00, 0, 0, 0, 0, 0}));
  EXPECT_GOOD(Run(Cdb10(0x35, 0, 0)));
  EXPECT_GOOD(Run(Cdb16(0x91, 5, 9)));
  EXPECT_EQ(disk.flushes, 2);
  EXPECT_EQ(SenseOf(Run(Cdb10(0x35, 1024, 1))), kOutOfRange);
  EXPECT_GOOD(Run({0x1b, 0, 0, 0, 1, 0}));
  EXPECT_EQ(disk.flushes, 2);
  EXPECT_GOOD(Run({0x1b, 0, 0, 0, 0, 0}));  // A stop writes the cache back.
  EXPECT_EQ(disk.flushes, 3);
  EXPECT_EQ(PointerOf(Run({0x1b, 0, 0, 0, 2, 0})), (Pointer{4, 1}));
  EXPECT_GOOD(Run({0x1b, 0, 0, 0, 0x32, 0}));  // A power condition.
  EXPECT_EQ(disk.flushes, 3);
  EXPECT_GOOD(Run({0x1e, 0, 0, 0, 1, 0}));
  EXPECT_EQ(PointerOf(Run({0x1e, 0, 0, 0, 2, 0})), (Pointer{4, 1}));
  EXPECT_GOOD(Run({0x1d, 4, 0, 0, 0, 0}));
  EXPECT_EQ(PointerOf(Run({0x1d, 0x20, 0, 0, 0, 0})), (Pointer{1, 7}));
  disk.fails = IoStatus::kMediumError;
  EXPECT_EQ(SenseOf(Run(Cdb10(0x35, 0, 0))), (SenseCode{0x3, 0x0c, 0x00}));
}

TEST_F(UnitStateTest, LunsAreReportedBySelectReport) {
  SetUp0();
  AddLun(7, "disk");
  AddLun(255, "disk");
  Bytes expected{0, 0, 0, 24, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0,
                 0, 7, 0, 0,  0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(Run({0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}).in, expected);
  EXPECT_EQ(Run({0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0}, 256, {}, 99).in, expected);
  EXPECT_EQ(Run({0xa0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0}).in, Bytes(8));
  EXPECT_EQ(Run({0xa0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0}).in, expected);
  EXPECT_EQ(PointerOf(Run({0xa0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0})), (Pointer{2, -1}));
}

TEST_F(UnitStateTest, EachReportedCommandIsExecutedAndSaysItsLength) {
  SetUp0();
  TestCommand& all = Run({0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0});
  EXPECT_GOOD(all);
  ASSERT_EQ(BigEndian(all.in, 0, 4), all.in.size() - 4);
  const Bytes list = all.in;
  ASSERT_GT(list.size(), 4u + 30 * 8);
  for (size_t at = 4; at < list.size(); at += 8) {
    const uint8_t opcode = list[at], action = list[at + 3];
    const bool has_action = list[at + 5] & 1;
    const uint8_t option = has_action ? 2 : 1;
    TestCommand& one = Run({0xa3, 0x0c, option, opcode, 0, action, 0, 0, 0x10, 0, 0, 0});
    EXPECT_GOOD(one);
    ASSERT_EQ(one.in.size(), 4u + list[at + 7]) << "opcode " << int{opcode};
    EXPECT_EQ(one.in[1], 3);
    EXPECT_EQ(one.in[4], opcode);
    const uint8_t wrong = has_action ? 1 : 2;
    EXPECT_EQ(SenseOf(Run({0xa3, 0x0c, wrong, opcode, 0, action, 0, 0, 0x10, 0, 0, 0})),
              kInvalidField);
    Bytes cdb(16);
    cdb[0] = opcode;
    cdb[1] = action;
    EXPECT_NE(SenseOf(Run(cdb, 512, Bytes(512))), kBadOpcode);
  }
  // With timeouts each is twelve bytes longer.
  TestCommand& timed = Run({0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0x10, 0, 0, 0});
  EXPECT_EQ(timed.in.size() - 4, (list.size() - 4) / 8 * 20);
}

TEST_F(UnitStateTest, CommandsToComeAreUnsupportedByNow) {
  SetUp0();
  for (const uint8_t opcode : Bytes{0x04, 0x7f, 0xff}) {
    EXPECT_EQ(SenseOf(Run({opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})), kBadOpcode);
    EXPECT_EQ(Run({0xa3, 0x0c, 1, opcode, 0, 0, 0, 0, 0x10, 0, 0, 0}).in, (Bytes{0, 1, 0, 0}));
  }
  EXPECT_EQ(SenseOf(Run({0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0})), kBadOpcode);
}

TEST_F(UnitStateTest, TaskManagementFunctionsAreReported) {
  SetUp0();
  EXPECT_EQ(Run({0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0}).in, (Bytes{0xda, 0, 0, 0}));
  EXPECT_EQ(Run({0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 64, 0, 0}).in.size(), 16u);
}

}  // namespace
}  // namespace pollux::scsi
