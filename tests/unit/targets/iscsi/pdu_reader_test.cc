#include "targets/iscsi/pdu_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace pollux::iscsi {
namespace {

using Bytes = std::vector<uint8_t>;

// Our own reading of §11.2.1: opcode at 0, AHS words at 4, data bytes at 5 to 7, ITT at 16.
Bytes MakePdu(uint32_t tag, uint32_t data_bytes, uint8_t ahs_words = 0) {
  Bytes pdu(48 + size_t{ahs_words} * 4 + ((data_bytes + 3) & ~3u));
  pdu[0] = 0x01;
  pdu[4] = ahs_words;
  pdu[5] = static_cast<uint8_t>(data_bytes >> 16);
  pdu[6] = static_cast<uint8_t>(data_bytes >> 8);
  pdu[7] = static_cast<uint8_t>(data_bytes);
  for (int i = 0; i < 4; ++i) pdu[static_cast<size_t>(16 + i)] = uint8_t(tag >> (24 - 8 * i));
  for (size_t i = 48; i < 48 + size_t{ahs_words} * 4; ++i) pdu[i] = 0xaa;
  for (uint32_t i = 0; i < data_bytes; ++i) {
    pdu[48 + size_t{ahs_words} * 4 + i] = static_cast<uint8_t>(tag * 7 + i);
  }
  return pdu;
}

class PduReaderTest : public testing::Test {
 protected:
  struct Seen {
    uint32_t tag;
    size_t ahs_bytes;
    Bytes data;
    bool operator==(const Seen&) const = default;
  };

  // Delivers `stream` as a socket would, at most `chunk` bytes at a time, and collects the PDUs.
  // Streamed data goes to where the owner wants it: the end of the last PDU's data.
  std::vector<Seen> Read(const Bytes& stream, size_t chunk) {
    PduReader reader(PduReader::kBufferBytesMin + buffer_more_, 65536);
    std::vector<Seen> seen;
    for (size_t at = 0; at < stream.size();) {
      size_t bytes = std::min(chunk, stream.size() - at);
      if (reader.streaming() > 0) {
        bytes = std::min<size_t>(bytes, reader.streaming());
        seen.back().data.insert(seen.back().data.end(), stream.begin() + Offset(at),
                                stream.begin() + Offset(at + bytes));
        reader.Streamed(bytes);
      } else {
        const std::span<std::byte> space = reader.Space();
        bytes = std::min(bytes, space.size());
        std::memcpy(space.data(), stream.data() + at, bytes);
        reader.Received(bytes);
      }
      at += bytes;
      for (;;) {
        const auto next = reader.Next();
        if (std::holds_alternative<NeedMore>(next)) break;
        if (std::holds_alternative<Violation>(next)) {
          violated_ = true;
          return seen;
        }
        const Pdu& pdu = std::get<Pdu>(next);
        const auto* data = reinterpret_cast<const uint8_t*>(pdu.data.data());
        seen.push_back({pdu.header->itt, pdu.ahs.size(), Bytes(data, data + pdu.data.size())});
        EXPECT_EQ(pdu.data.size() + pdu.rest, pdu.header->data_segment_length);
      }
    }
    return seen;
  }
  static ptrdiff_t Offset(size_t n) { return static_cast<ptrdiff_t>(n); }

  bool violated_ = false;
  size_t buffer_more_ = 0;
};

TEST_F(PduReaderTest, CuttingTheStreamAnywhereMakesNoDifference) {
  Bytes stream;
  std::vector<Seen> expected;
  const std::vector<std::pair<uint32_t, uint8_t>> shapes = {
      {0, 0},    {1, 0},    {0, 1},       {511, 0}, {512, 2},
      {8192, 0}, {8193, 0}, {20000, 255}, {0, 0},   {3, 1}};
  uint32_t tag = 0;
  for (const auto& [bytes, ahs] : shapes) {
    const Bytes pdu = MakePdu(++tag, bytes, ahs);
    stream.insert(stream.end(), pdu.begin(), pdu.end());
    Bytes data(bytes);
    for (uint32_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(tag * 7 + i);
    expected.push_back({tag, size_t{ahs} * 4, data});
  }
  for (const size_t more : {size_t{0}, size_t{60000}}) {
    buffer_more_ = more;
    for (const size_t chunk : {1u, 2u, 3u, 7u, 47u, 48u, 49u, 513u, 8191u, 8240u, 65536u}) {
      EXPECT_EQ(Read(stream, chunk), expected) << "chunk " << chunk;
    }
  }
}

TEST_F(PduReaderTest, EveryFirstCutOfTwoPdusMakesNoDifference) {
  Bytes stream = MakePdu(1, 5, 1);
  const Bytes second = MakePdu(2, 9000);
  stream.insert(stream.end(), second.begin(), second.begin() + 200);
  for (size_t cut = 1; cut < stream.size(); ++cut) {
    const std::vector<Seen> whole = Read(stream, stream.size());
    EXPECT_EQ(Read(stream, cut), whole) << cut;
  }
}

TEST_F(PduReaderTest, ADataSegmentOfMoreThanTheMaximumIsAViolation) {
  EXPECT_EQ(Read(MakePdu(1, 65536), 65536).size(), 1u);
  EXPECT_FALSE(violated_);
  Read(MakePdu(1, 65537), 65536);
  EXPECT_TRUE(violated_);
}

TEST_F(PduReaderTest, ALyingLengthIsSeenFromTheHeaderAlone) {
  Bytes pdu = MakePdu(1, 0);
  pdu[5] = 0xff;
  EXPECT_TRUE(Read(pdu, 48).empty());
  EXPECT_TRUE(violated_);
}

TEST_F(PduReaderTest, NothingComesOutOfLessThanAHeader) {
  Bytes pdu = MakePdu(1, 0);
  pdu.resize(47);
  EXPECT_TRUE(Read(pdu, 47).empty());
  EXPECT_FALSE(violated_);
}

TEST_F(PduReaderTest, PaddingIsNotData) {
  Bytes stream = MakePdu(1, 8193);
  stream[48 + 8193] = stream[48 + 8194] = stream[48 + 8195] = 0x99;  // All three.
  const Bytes second = MakePdu(2, 0);
  stream.insert(stream.end(), second.begin(), second.end());
  const std::vector<Seen> seen = Read(stream, 100);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].data.size(), 8193u);
  EXPECT_EQ(seen[1].tag, 2u);
}

TEST_F(PduReaderTest, ManyPdusComeFromOneReceiveCall) {
  Bytes stream;
  for (uint32_t tag = 0; tag < 100; ++tag) {
    const Bytes pdu = MakePdu(tag, 0);
    stream.insert(stream.end(), pdu.begin(), pdu.end());
  }
  EXPECT_EQ(Read(stream, stream.size()).size(), 100u);
}

TEST_F(PduReaderTest, LeftoverIsWhatWasNotReturned) {
  PduReader reader(PduReader::kBufferBytesMin, 8192);
  Bytes stream = MakePdu(1, 4);
  stream.insert(stream.end(), {0x40, 0x41, 0x42});
  std::memcpy(reader.Space().data(), stream.data(), stream.size());
  reader.Received(stream.size());
  ASSERT_TRUE(std::holds_alternative<Pdu>(reader.Next()));
  ASSERT_EQ(reader.leftover().size(), 3u);
  EXPECT_EQ(reader.leftover()[0], std::byte{0x40});
}

}  // namespace
}  // namespace pollux::iscsi
