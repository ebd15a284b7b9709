#include "scsi_fixture.h"

// Golden bytes, written down from SPC-4 and SBC-3 by hand: nothing here includes scsi_spec.h.

namespace pollux::scsi {
namespace {

Bytes Text(const std::string& text) { return Bytes(text.begin(), text.end()); }
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class InquiryTest : public ScsiTest {
 protected:
  Bytes Vpd(uint8_t page, uint16_t length = 4096) {
    TestCommand& command =
        Run({0x12, 0x01, page, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0});
    EXPECT_GOOD(command);
    return command.in;
  }
};

TEST_F(InquiryTest, StandardDataIsTheExpected96Bytes) {
  SetUp0();
  const Bytes expected = Bytes{0x00, 0x00, 0x06, 0x12, 91, 0x18, 0x00, 0x02} + Text("POLLUX  ") +
                         Text("Test disk       ") + Text("0001") + Bytes(22) +
                         Bytes{0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0} + Bytes(30);
  ASSERT_EQ(expected.size(), 96u);
  TestCommand& command = Run({0x12, 0, 0, 1, 4, 0});
  EXPECT_EQ(command.in, expected);
  EXPECT_EQ(command.data_bytes, 96u);
}

TEST_F(InquiryTest, SupportedPagesAreThoseThatAnswer) {
  SetUp0();
  const Bytes pages = Vpd(0x00);
  EXPECT_EQ(pages, (Bytes{0, 0x00, 0, 9, 0x00, 0x80, 0x83, 0x86, 0x87, 0x8f, 0xb0, 0xb1, 0xb2}));
  for (int page = 0; page < 256; ++page) {
    const bool listed = std::find(pages.begin() + 4, pages.end(), page) != pages.end();
    TestCommand& command = Run({0x12, 1, static_cast<uint8_t>(page), 0x10, 0, 0});
    if (listed) {
      EXPECT_GOOD(command);
      EXPECT_EQ(command.in.at(1), page);
      EXPECT_EQ(BigEndian(command.in, 2, 2), command.in.size() - 4) << "page " << page;
    } else {
      EXPECT_EQ(SenseOf(command), kInvalidField);
      EXPECT_EQ(PointerOf(command), (Pointer{2, -1}));
    }
  }
}

TEST_F(InquiryTest, SerialNumberIsTheUuid) {
  SetUp0();
  EXPECT_EQ(Vpd(0x80), (Bytes{0, 0x80, 0, 32} + Text("00112233445546778899aabbccddeeff")));
}

TEST_F(InquiryTest, DesignatorsNameUnitPortAndDevice) {
  SetUp0();
  // The halves of the UUID, XORed, under NAA 3h.
  const Bytes designators =
      Bytes{0x01, 0x03, 0, 8, 0x38, 0x88, 0x88, 0x88, 0x88, 0x88, 0xa8, 0x88} +
      Bytes{0x02, 0x01, 0, 44} + Text("POLLUX  ") + Text("00112233-4455-4677-8899-aabbccddeeff") +
      Bytes{0x51, 0x94, 0, 4, 0, 0, 0, 1} + Bytes{0x51, 0x95, 0, 4, 0, 0, 0, 1} +
      Bytes{0x53, 0x98, 0, 32} + Text("iqn.2024-01.test:disk,t,0x0001") + Bytes(2) +
      Bytes{0x53, 0xa8, 0, 24} + Text("iqn.2024-01.test:disk") + Bytes(3);
  EXPECT_EQ(Vpd(0x83), (Bytes{0, 0x83, 0, static_cast<uint8_t>(designators.size())} + designators));
}

TEST_F(InquiryTest, ExtendedDataAndModePagePolicy) {
  SetUp0();
  EXPECT_EQ(Vpd(0x86), (Bytes{0, 0x86, 0, 60, 0, 0x05, 0, 0x01} + Bytes(56)));
  EXPECT_EQ(Vpd(0x87), (Bytes{0, 0x87, 0, 4, 0x3f, 0xff, 0, 0}));
}

TEST_F(InquiryTest, BlockLimitsHaveTheLengthOfSbc3) {
  SetUp0();
  const Bytes page = Vpd(0xb0);
  ASSERT_EQ(page.size(), 64u);
  EXPECT_EQ(page[3], 0x3c);
  EXPECT_EQ(page[4], 0x01);                     // WSNZ
  EXPECT_EQ(page[5], 8);                        // Compare and write: half a buffer.
  EXPECT_EQ(BigEndian(page, 20, 4), 1u << 20);  // MAXIMUM UNMAP LBA COUNT
  EXPECT_EQ(BigEndian(page, 24, 4), 256u);      // ... BLOCK DESCRIPTOR COUNT
  EXPECT_EQ(BigEndian(page, 36, 8), 1u << 21);  // MAXIMUM WRITE SAME LENGTH: 1 GiB.
}

TEST_F(InquiryTest, DiskDoesNotRotateAndIsThin) {
  SetUp0();
  EXPECT_EQ(Vpd(0xb1), (Bytes{0, 0xb1, 0, 60, 0, 1} + Bytes(58)));
  EXPECT_EQ(Vpd(0xb2), (Bytes{0, 0xb2, 0, 4, 0, 0xe4, 2, 0}));
}

TEST_F(InquiryTest, DiskThatCannotUnmapSaysSo) {
  SetUp0({.unmaps = false});
  EXPECT_EQ(Vpd(0xb2), (Bytes{0, 0xb2, 0, 4, 0, 0, 0, 0}));
  EXPECT_EQ(BigEndian(Vpd(0xb0), 20, 8), 0u);
  EXPECT_EQ(SenseOf(Run({0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0}, 0, Bytes(24))), kBadOpcode);
}

TEST_F(InquiryTest, AllocationLengthCutsAndNothingElse) {
  SetUp0();
  const Bytes whole = Vpd(0x83);
  for (uint16_t length = 0; length < whole.size() + 3; ++length) {
    const Bytes expected(whole.begin(),
                         whole.begin() + std::min<ptrdiff_t>(length, std::ssize(whole)));
    EXPECT_EQ(Vpd(0x83, length), expected);
  }
}

TEST_F(InquiryTest, UnitThatIsNotThereHasQualifier3) {
  SetUp0();
  TestCommand& command = Run({0x12, 0, 0, 0, 255, 0}, 255, {}, 5);
  EXPECT_GOOD(command);
  ASSERT_EQ(command.in.size(), 96u);
  EXPECT_EQ(command.in[0], 0x7f);
  EXPECT_EQ(Run({0x12, 1, 0, 0, 255, 0}, 255, {}, 5).in, (Bytes{0x7f, 0, 0, 1, 0}));
  EXPECT_EQ(SenseOf(Run({0x12, 1, 0x83, 0, 255, 0}, 255, {}, 5)), kInvalidField);
}

TEST_F(InquiryTest, WrongFieldsArePointedAt) {
  SetUp0();
  TestCommand& page_without_evpd = Run({0x12, 0, 0x83, 0, 255, 0});
  EXPECT_EQ(SenseOf(page_without_evpd), kInvalidField);
  EXPECT_EQ(PointerOf(page_without_evpd), (Pointer{2, -1}));
  EXPECT_EQ(PointerOf(Run({0x12, 2, 0, 0, 255, 0})), (Pointer{1, 1}));
  EXPECT_EQ(PointerOf(Run({0x12, 0, 0, 0, 255, 4})), (Pointer{5, 2}));  // NACA
}

}  // namespace
}  // namespace pollux::scsi
