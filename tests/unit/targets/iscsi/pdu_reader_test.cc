#include "targets/iscsi/pdu_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

constexpr Digests kAllDigests[] = {{false, false}, {true, false}, {false, true}, {true, true}};

// As the wire has it: least significant byte first. RFC 3720 §B.4
void AppendDigest(Bytes& bytes, size_t begin) {
  const uint32_t crc = SlowCrc32c(bytes.data() + begin, bytes.size() - begin);
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(crc >> shift));
}

// The same with digests: `pdu` has none.
Bytes WithDigests(const Bytes& pdu, Digests digests) {
  const size_t head = 48 + size_t{pdu[4]} * 4;
  Bytes out(pdu.begin(), pdu.begin() + static_cast<ptrdiff_t>(head));
  if (digests.header) AppendDigest(out, 0);
  const size_t begin = out.size();
  out.insert(out.end(), pdu.begin() + static_cast<ptrdiff_t>(head), pdu.end());
  if (digests.data && out.size() > begin) AppendDigest(out, begin);
  return out;
}

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
    bool intact = true;
    bool operator==(const Seen&) const = default;
  };

  // Delivers `stream` as a socket would, at most `chunk` bytes at a time, and collects the PDUs.
  // Streamed data goes to where the owner wants it: the end of the last PDU's data.
  std::vector<Seen> Read(const Bytes& stream, size_t chunk) {
    violated_ = false;
    ended_ = true;
    PduReader reader(PduReader::kBufferBytesMin + buffer_more_, 65536, digests_);
    std::vector<Seen> seen;
    for (size_t at = 0; at < stream.size();) {
      size_t bytes = std::min(chunk, stream.size() - at);
      if (reader.streaming() > 0) {
        bytes = std::min<size_t>(bytes, reader.streaming());
        seen.back().data.insert(seen.back().data.end(), stream.begin() + Offset(at),
                                stream.begin() + Offset(at + bytes));
        reader.Streamed({reinterpret_cast<const std::byte*>(stream.data()) + at, bytes});
      } else {
        const std::span<std::byte> space = reader.Space();
        bytes = std::min(bytes, space.size());
        std::memcpy(space.data(), stream.data() + at, bytes);
        reader.Received(bytes);
      }
      at += bytes;
      if (const auto ok = reader.EndOfData()) {
        seen.back().intact = *ok;
        ended_ = true;
      }
      for (;;) {
        const auto next = reader.Next();
        if (std::holds_alternative<NeedMore>(next)) break;
        if (std::holds_alternative<Violation>(next)) {
          violated_ = true;
          return seen;
        }
        const Pdu& pdu = std::get<Pdu>(next);
        const auto* data = reinterpret_cast<const uint8_t*>(pdu.data.data());
        EXPECT_TRUE(ended_) << "a PDU before the last one's end";
        seen.push_back(
            {pdu.header->itt, pdu.ahs.size(), Bytes(data, data + pdu.data.size()), pdu.digest_ok});
        ended_ = pdu.whole;
        EXPECT_EQ(pdu.data.size() + pdu.rest, pdu.header->data_segment_length);
      }
    }
    return seen;
  }
  static ptrdiff_t Offset(size_t n) { return static_cast<ptrdiff_t>(n); }

  Digests digests_;
  bool violated_ = false;
  bool ended_ = true;
  size_t buffer_more_ = 0;
};

TEST_F(PduReaderTest, CuttingTheStreamAnywhereMakesNoDifference) {
  std::vector<Bytes> pdus;
  std::vector<Seen> expected;
  const std::vector<std::pair<uint32_t, uint8_t>> shapes = {
      {0, 0},    {1, 0},    {0, 1},       {511, 0}, {512, 2},
      {8192, 0}, {8193, 0}, {20000, 255}, {0, 0},   {3, 1}};
  uint32_t tag = 0;
  for (const auto& [bytes, ahs] : shapes) {
    pdus.push_back(MakePdu(++tag, bytes, ahs));
    Bytes data(bytes);
    for (uint32_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(tag * 7 + i);
    expected.push_back({tag, size_t{ahs} * 4, data, true});
  }
  for (const Digests digests : kAllDigests) {
    digests_ = digests;
    for (const size_t more : {size_t{0}, size_t{60000}}) {
      Bytes stream;
      for (const Bytes& pdu : pdus) {
        const Bytes bytes = WithDigests(pdu, digests_);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
      }
      buffer_more_ = more;
      for (const size_t chunk : {1u, 2u, 3u, 7u, 47u, 48u, 49u, 513u, 8191u, 8240u, 65536u}) {
        EXPECT_EQ(Read(stream, chunk), expected) << "chunk " << chunk;
      }
    }
  }
}

TEST_F(PduReaderTest, EveryFirstCutOfTwoPdusMakesNoDifference) {
  for (const Digests digests : kAllDigests) {
    digests_ = digests;
    Bytes stream = WithDigests(MakePdu(1, 5, 1), digests);
    const Bytes second = WithDigests(MakePdu(2, 9000), digests);
    stream.insert(stream.end(), second.begin(), second.begin() + 200);
    for (size_t cut = 1; cut < stream.size(); ++cut) {
      const std::vector<Seen> whole = Read(stream, stream.size());
      EXPECT_EQ(Read(stream, cut), whole) << cut;
    }
  }
}

TEST_F(PduReaderTest, TheChecksumIsThatOfTheStandard) {
  // RFC 3720 §B.4, as bytes of the wire.
  Bytes zeroes(32), ones(32, 0xff), up(32), down(32);
  for (size_t i = 0; i < 32; ++i) up[i] = static_cast<uint8_t>(i), down[31 - i] = up[i];
  for (const auto& [data, digest] :
       std::vector<std::pair<Bytes, Bytes>>{{zeroes, {0xaa, 0x36, 0x91, 0x8a}},
                                            {ones, {0x43, 0xab, 0xa8, 0x62}},
                                            {up, {0x4e, 0x79, 0xdd, 0x46}},
                                            {down, {0x5c, 0xdb, 0x3f, 0x11}}}) {
    Bytes with = data;
    AppendDigest(with, 0);
    EXPECT_EQ(Bytes(with.begin() + 32, with.end()), digest);
    Bytes pdu = WithDigests(MakePdu(1, 32), {.header = false, .data = true});
    std::copy(with.begin(), with.end(), pdu.begin() + 48);
    digests_ = {.header = false, .data = true};
    const std::vector<Seen> seen = Read(pdu, pdu.size());
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_TRUE(seen[0].intact);
  }
}

// Header, additional segment and digest: no bit of them can flip unnoticed.
TEST_F(PduReaderTest, AnyFlippedBitUnderAHeaderDigestIsAViolation) {
  digests_ = {.header = true, .data = true};
  const Bytes pdu = WithDigests(MakePdu(1, 6, 2), digests_);
  const size_t head = 48 + 8 + 4;
  for (size_t bit = 0; bit < head * 8; ++bit) {
    Bytes damaged = pdu;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    // If the flip made it longer: what was to come next.
    damaged.resize(48 + 255 * 4 + 4);
    EXPECT_TRUE(Read(damaged, damaged.size()).empty()) << bit;
    EXPECT_TRUE(violated_) << bit;
  }
}

// Data, padding and digest: each PDU is still cut where it ends, and only its data is bad.
TEST_F(PduReaderTest, AnyFlippedBitUnderADataDigestIsSeenAndTheNextPduFollows) {
  for (const bool header : {false, true}) {
    digests_ = {.header = header, .data = true};
    const Bytes next = WithDigests(MakePdu(2, 3), digests_);
    for (const uint32_t bytes : {5u, 6u, 7u, 8u}) {  // Padding of 3 to 0.
      const Bytes pdu = WithDigests(MakePdu(1, bytes), digests_);
      const size_t begin = 48 + (header ? 4 : 0);
      for (size_t bit = begin * 8; bit < pdu.size() * 8; ++bit) {
        Bytes stream = pdu;
        stream[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        stream.insert(stream.end(), next.begin(), next.end());
        const std::vector<Seen> seen = Read(stream, 50);
        ASSERT_EQ(seen.size(), 2u) << bit;
        EXPECT_FALSE(seen[0].intact) << bit;
        EXPECT_TRUE(seen[1].intact && seen[1].tag == 2) << bit;
      }
    }
  }
}

TEST_F(PduReaderTest, ADamagedSegmentThatIsStreamedIsSeenAtItsEnd) {
  digests_ = {.header = true, .data = true};
  for (const uint32_t bytes : {8193u, 20001u, 65535u}) {
    const Bytes pdu = WithDigests(MakePdu(1, bytes), digests_);
    for (const size_t at : {size_t{52}, size_t{4000}, pdu.size() - 9, pdu.size() - 5,
                            pdu.size() - 4, pdu.size() - 1}) {
      Bytes stream = pdu;
      stream[at] ^= 0x10;
      const Bytes next = WithDigests(MakePdu(2, 0), digests_);
      stream.insert(stream.end(), next.begin(), next.end());
      for (const size_t chunk : {size_t{61}, size_t{4099}, pdu.size() - 4, stream.size()}) {
        const std::vector<Seen> seen = Read(stream, chunk);
        ASSERT_EQ(seen.size(), 2u) << at;
        EXPECT_FALSE(seen[0].intact) << at;
      }
    }
  }
}

// All data is read ahead, and of padding and digest any part: the buffer is as full as can be.
TEST_F(PduReaderTest, OnlyTheDigestOfALargeSegmentMayBeMissing) {
  digests_ = {.header = true, .data = true};
  for (const uint32_t bytes : {8193u, 8196u, 8198u, 8300u}) {
    const Bytes pdu = WithDigests(MakePdu(1, bytes, 255), digests_);
    buffer_more_ = 1000;
    for (size_t missing = 0; missing < 12; ++missing) {
      const std::vector<Seen> seen = Read(pdu, pdu.size() - missing);
      ASSERT_EQ(seen.size(), 1u);
      EXPECT_TRUE(ended_ && seen[0].intact && seen[0].data.size() == bytes) << missing;
    }
  }
}

TEST_F(PduReaderTest, NoDataHasNoDigest) {
  digests_ = {.header = false, .data = true};
  Bytes stream = MakePdu(1, 0);
  const Bytes second = MakePdu(2, 0);
  stream.insert(stream.end(), second.begin(), second.end());
  EXPECT_EQ(Read(stream, stream.size()).size(), 2u);
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
