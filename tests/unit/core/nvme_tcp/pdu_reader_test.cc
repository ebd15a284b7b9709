#include "core/nvme_tcp/pdu_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <vector>

#include "core/accel/crc32c.h"

namespace pollux::nvme_tcp {
namespace {

using Bytes = std::vector<uint8_t>;
using End = PduReader::End;

// Our own reading of figure 14 and §3.6.2: types by number, HLEN, which end reads them.
struct TypeFacts {
  uint8_t type, hlen;
  End reader;
  bool digests, data;
};
constexpr TypeFacts kTypes[] = {
    {0x00, 128, End::kController, false, false}, {0x01, 128, End::kHost, false, false},
    {0x02, 24, End::kController, false, false},  {0x03, 24, End::kHost, false, false},
    {0x04, 72, End::kController, true, true},    {0x05, 24, End::kHost, true, false},
    {0x06, 24, End::kController, true, true},    {0x07, 24, End::kHost, true, true},
    {0x09, 24, End::kHost, true, false},
};
constexpr uint8_t kCapsule = 4, kToController = 6, kToHost = 7, kResponse = 5;

const TypeFacts* FactsOf(uint8_t type) {
  for (const TypeFacts& facts : kTypes) {
    if (facts.type == type) return &facts;
  }
  return nullptr;
}

void PutLe32(Bytes& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(value >> 8 * i);
}
uint32_t DigestOf(const Bytes& bytes, size_t from, size_t count) {
  return Crc32c(std::as_bytes(std::span(bytes)).subspan(from, count));
}

class NvmeTcpPduReaderTest : public testing::Test {
 protected:
  static constexpr uint32_t kPlenMax = 300'000;

  // A right PDU of the type under what is agreed, its data padded as asked. (Inlined, it makes
  // g++ 12 see overflows that are not there.)
  [[gnu::noinline]] Bytes MakePdu(uint8_t type, uint32_t data_bytes = 0, uint8_t tag = 0) const {
    const TypeFacts& facts = *FactsOf(type);
    const bool hdgst = facts.digests && agreed_.header_digest;
    const bool ddgst = facts.data && agreed_.data_digest && data_bytes > 0;
    const size_t head = facts.hlen + (hdgst ? 4u : 0);
    size_t pdo = head;
    if (facts.data && data_bytes > 0) {
      const size_t unit = (agreed_.pda + 1u) * 4;
      pdo = (head + unit - 1) / unit * unit;
    }
    Bytes pdu(facts.hlen);
    pdu.resize(pdo + data_bytes + (ddgst ? 4u : 0), 0xa5);
    pdu[0] = type;
    pdu[1] = static_cast<uint8_t>((hdgst ? 1 : 0) | (ddgst ? 2 : 0));
    pdu[2] = facts.hlen;
    pdu[3] = static_cast<uint8_t>(data_bytes > 0 ? pdo : 0);
    PutLe32(pdu, 4, static_cast<uint32_t>(pdu.size()));
    pdu[10] = tag;
    if (type == kToController || type == kToHost) PutLe32(pdu, 16, data_bytes);
    for (uint32_t i = 0; i < data_bytes; ++i) pdu[pdo + i] = static_cast<uint8_t>(tag * 7 + i);
    if (ddgst) PutLe32(pdu, pdo + data_bytes, DigestOf(pdu, pdo, data_bytes));
    Seal(pdu);
    return pdu;
  }
  // Computes its header digest anew.
  void Seal(Bytes& pdu) const {
    const TypeFacts* const facts = FactsOf(pdu[0]);
    if (facts == nullptr || !facts->digests || !agreed_.header_digest) return;
    PutLe32(pdu, facts->hlen, DigestOf(pdu, 0, facts->hlen));
  }

  struct Seen {
    uint8_t type, tag;
    Bytes data;
    bool digest_ok;
    bool operator==(const Seen&) const = default;
  };

  // Delivers `stream` as a socket would, at most `chunk` bytes at a time, and collects the PDUs, up
  // to a violation. Every piece is received from an array of its own size, so that a sanitizer
  // sees who reads behind it.
  std::vector<Seen> Read(const Bytes& stream, size_t chunk) {
    PduReader reader(end_, buffer_bytes_, kPlenMax, whole_bytes_max_);
    reader.Agree(agreed_);
    violation_.reset();
    std::vector<Seen> seen;
    Bytes streamed;
    for (size_t at = 0; at < stream.size();) {
      size_t bytes = std::min(chunk, stream.size() - at);
      if (reader.streaming() > 0) {
        bytes = std::min<size_t>(bytes, reader.streaming());
        const Bytes piece(stream.begin() + Offset(at), stream.begin() + Offset(at + bytes));
        seen.back().data.insert(seen.back().data.end(), piece.begin(), piece.end());
        reader.Streamed(std::as_bytes(std::span(piece)));
      } else {
        const std::span<std::byte> space = reader.Space();
        EXPECT_FALSE(space.empty());
        bytes = std::min(bytes, space.size());
        std::memcpy(space.data(), stream.data() + at, bytes);
        reader.Received(bytes);
      }
      at += bytes;
      for (;;) {
        const auto next = reader.Next();
        if (std::holds_alternative<NeedMore>(next)) break;
        if (const auto* violation = std::get_if<Violation>(&next)) {
          violation_ = *violation;
          const auto* const from = reinterpret_cast<const uint8_t*>(violation->header.data());
          at_fault_.assign(from, from + violation->header.size());
          return seen;
        }
        if (const auto* end = std::get_if<PduReader::DataEnd>(&next)) {
          EXPECT_TRUE(awaits_end_);
          awaits_end_ = false;
          seen.back().digest_ok = end->digest_ok;
          continue;
        }
        EXPECT_FALSE(awaits_end_);
        const Pdu& pdu = std::get<Pdu>(next);
        const auto* const data = reinterpret_cast<const uint8_t*>(pdu.data.data());
        const auto* const header = reinterpret_cast<const uint8_t*>(pdu.header);
        seen.push_back({header[0], header[10], Bytes(data, data + pdu.data.size()), pdu.digest_ok});
        EXPECT_EQ(pdu.data_bytes(), pdu.data.size() + pdu.rest);
        EXPECT_EQ(reader.streaming(), pdu.rest);
        awaits_end_ = pdu.rest > 0;
      }
    }
    return seen;
  }
  static ptrdiff_t Offset(size_t at) { return static_cast<ptrdiff_t>(at); }

  // What must come of MakePdu's.
  static Seen Expected(uint8_t type, uint32_t data_bytes, uint8_t tag) {
    Seen seen{type, tag, Bytes(data_bytes), true};
    for (uint32_t i = 0; i < data_bytes; ++i) seen.data[i] = static_cast<uint8_t>(tag * 7 + i);
    return seen;
  }

  // Delivers it in one piece and in pieces of a byte: the answer must be the same.
  void ExpectViolation(const Bytes& pdu, uint16_t fes, uint32_t fei) {
    for (const size_t chunk : {size_t{65536}, size_t{1}}) {
      EXPECT_TRUE(Read(pdu, chunk).empty());
      ASSERT_TRUE(violation_) << "chunk " << chunk;
      EXPECT_EQ(violation_->fes, fes) << violation_->reason;
      EXPECT_EQ(violation_->fei, fei) << violation_->reason;
      ASSERT_GE(at_fault_.size(), 8u);
      ASSERT_LE(at_fault_.size(), pdu.size());
      EXPECT_TRUE(std::equal(at_fault_.begin(), at_fault_.end(), pdu.begin()));
    }
  }

  template <typename Body>
  void WithEveryAgreement(Body body) {
    for (const bool header_digest : {false, true}) {
      for (const bool data_digest : {false, true}) {
        for (const uint8_t pda : {uint8_t{0}, uint8_t{3}, kPdaMax}) {
          agreed_ = {header_digest, data_digest, pda};
          body();
        }
      }
    }
  }

  End end_ = End::kController;
  size_t buffer_bytes_ = PduReader::kBufferBytesMin;
  size_t whole_bytes_max_ = PduReader::kWholeBytesMax;
  PduReader::Agreed agreed_;
  bool awaits_end_ = false;
  std::optional<Violation> violation_;
  Bytes at_fault_;
};

TEST_F(NvmeTcpPduReaderTest, ReadsEveryTypeOfItsEnd) {
  WithEveryAgreement([&] {
    for (const TypeFacts& facts : kTypes) {
      end_ = facts.reader;
      EXPECT_EQ(Read(MakePdu(facts.type, 0, 5), 65536), std::vector{Expected(facts.type, 0, 5)});
      EXPECT_FALSE(violation_);
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, CutsAStreamTheSameWhereverItIsDelivered) {
  WithEveryAgreement([&] {
    Bytes stream;
    std::vector<Seen> expected;
    uint8_t tag = 0;
    for (const uint32_t bytes : {0u, 1u, 512u, 8192u, 8193u, 9000u, 20'000u, 4u}) {
      for (const uint8_t type : {kCapsule, kToController}) {
        const Bytes pdu = MakePdu(type, bytes, ++tag);
        stream.insert(stream.end(), pdu.begin(), pdu.end());
        expected.push_back(Expected(type, bytes, tag));
      }
    }
    for (const size_t chunk :
         {1u, 3u, 7u, 23u, 24u, 71u, 72u, 73u, 1000u, 4096u, 8191u, 8300u, 65536u}) {
      ASSERT_EQ(Read(stream, chunk), expected) << "chunk " << chunk;
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, DoesNotMindWhereTheStreamIsCutOnce) {
  agreed_ = {.header_digest = true, .data_digest = true, .pda = 7};
  end_ = End::kHost;
  const Bytes first = MakePdu(kToHost, 8200, 1), second = MakePdu(kResponse, 0, 2);
  Bytes stream = first;
  stream.insert(stream.end(), second.begin(), second.end());
  const std::vector<Seen> expected = {Expected(kToHost, 8200, 1), Expected(kResponse, 0, 2)};
  for (size_t cut = 1; cut < stream.size(); ++cut) {
    // Chunks of `cut` put the first boundary everywhere.
    ASSERT_EQ(Read(stream, cut), expected) << cut;
  }
}

TEST_F(NvmeTcpPduReaderTest, LetsShortDataGoToItsPlaceWhereItsOwnerWantsThat) {
  end_ = End::kHost;
  WithEveryAgreement([&] {
    Bytes stream;
    std::vector<Seen> expected;
    uint8_t tag = 0;
    for (const uint32_t bytes : {1u, 512u, 513u, 4096u, 8192u}) {
      const Bytes data = MakePdu(kToHost, bytes, ++tag), response = MakePdu(kResponse, 0, ++tag);
      stream.insert(stream.end(), data.begin(), data.end());
      stream.insert(stream.end(), response.begin(), response.end());
      expected.push_back(Expected(kToHost, bytes, static_cast<uint8_t>(tag - 1)));
      expected.push_back(Expected(kResponse, 0, tag));
    }
    for (const size_t whole : {size_t{0}, size_t{512}}) {
      whole_bytes_max_ = whole;
      for (const size_t chunk : {1u, 7u, 24u, 25u, 1000u, 4097u, 65536u}) {
        ASSERT_EQ(Read(stream, chunk), expected) << "chunk " << chunk;
      }
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, TakesDataThatFillsItsBuffer) {
  for (const bool data_digest : {false, true}) {
    agreed_ = {.header_digest = false, .data_digest = data_digest};
    for (size_t less = 0; less < 40; ++less) {
      const auto bytes = static_cast<uint32_t>(buffer_bytes_ - less);
      for (const size_t chunk : {size_t{65536}, size_t{4096}}) {
        ASSERT_EQ(Read(MakePdu(kToController, bytes, 9), chunk),
                  std::vector{Expected(kToController, bytes, 9)});
      }
    }
  }
}

TEST_F(NvmeTcpPduReaderTest, WaitsForTheWholeOfAPdu) {
  WithEveryAgreement([&] {
    for (const TypeFacts& facts : kTypes) {
      end_ = facts.reader;
      Bytes pdu = MakePdu(facts.type, facts.data ? 100 : 0);
      pdu.pop_back();
      EXPECT_TRUE(Read(pdu, 65536).empty());
      EXPECT_FALSE(violation_);
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, GivesTheHeaderOfATerminateRequestAsItsData) {
  for (const uint32_t bytes : {1u, 24u, 128u}) {
    Bytes pdu = MakePdu(0x02);
    pdu.resize(24 + bytes, 0x77);
    PutLe32(pdu, 4, static_cast<uint32_t>(pdu.size()));
    const std::vector<Seen> seen = Read(pdu, 65536);
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].data, Bytes(bytes, 0x77));
  }
}

TEST_F(NvmeTcpPduReaderTest, DigestsBeginWhenTheyAreAgreed) {
  PduReader reader(End::kController, buffer_bytes_, kPlenMax);
  Bytes stream = MakePdu(0x00);
  agreed_ = {.header_digest = true, .data_digest = true};
  const Bytes capsule = MakePdu(kCapsule, 512, 3);
  stream.insert(stream.end(), capsule.begin(), capsule.end());
  std::memcpy(reader.Space().data(), stream.data(), stream.size());
  reader.Received(stream.size());
  const auto first = reader.Next();
  ASSERT_TRUE(std::holds_alternative<Pdu>(first));
  reader.Agree(agreed_);
  const auto second = reader.Next();
  ASSERT_TRUE(std::holds_alternative<Pdu>(second));
  EXPECT_EQ(std::get<Pdu>(second).data.size(), 512u);
  EXPECT_TRUE(std::get<Pdu>(second).digest_ok);
}

// --- Damage.

TEST_F(NvmeTcpPduReaderTest, KnowsNoOtherTypes) {
  for (const End end : {End::kController, End::kHost}) {
    end_ = end;
    for (unsigned type = 0; type < 256; ++type) {
      const TypeFacts* const facts = FactsOf(static_cast<uint8_t>(type));
      if (facts != nullptr && facts->reader == end) continue;
      Bytes pdu = MakePdu(end == End::kHost ? kResponse : kToController);
      pdu[0] = static_cast<uint8_t>(type);
      if (facts == nullptr) {
        ExpectViolation(pdu, fes::kInvalidHeaderField, 0);
      } else {
        ExpectViolation(pdu, fes::kSequenceError, 0);
      }
    }
  }
}

// CVE-2025-21927: a header length of 255 with a header digest.
TEST_F(NvmeTcpPduReaderTest, TakesOnlyTheHeaderLengthOfTheType) {
  WithEveryAgreement([&] {
    for (const TypeFacts& facts : kTypes) {
      end_ = facts.reader;
      for (unsigned hlen = 0; hlen < 256; ++hlen) {
        if (hlen == facts.hlen) continue;
        Bytes pdu = MakePdu(facts.type);
        pdu[2] = static_cast<uint8_t>(hlen);
        Seal(pdu);
        ExpectViolation(pdu, fes::kInvalidHeaderField, 2);
      }
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, TakesOnlyThePlenThatGoesWithTheRest) {
  WithEveryAgreement([&] {
    for (const TypeFacts& facts : kTypes) {
      end_ = facts.reader;
      const Bytes right = MakePdu(facts.type);
      const auto plen = static_cast<uint32_t>(right.size());
      for (const uint32_t wrong : {0u, 1u, 7u, 8u, plen - 1, kPlenMax + 1, 0x7fffffffu, 0x80000000u,
                                   0xfffffffcu, 0xffffffffu}) {
        Bytes pdu = right;
        PutLe32(pdu, 4, wrong);
        Seal(pdu);
        ExpectViolation(pdu, fes::kInvalidHeaderField, 4);
      }
      if (facts.data) continue;
      Bytes pdu = right;
      const bool terminates = facts.type == 0x02 || facts.type == 0x03;
      PutLe32(pdu, 4, plen + (terminates ? 129 : 1));
      Seal(pdu);
      ExpectViolation(pdu, fes::kInvalidHeaderField, 4);
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, TakesNoDataLengthOtherThanPlenSays) {
  WithEveryAgreement([&] {
    for (const uint8_t type : {kToController, kToHost}) {
      end_ = type == kToHost ? End::kHost : End::kController;
      for (const uint32_t wrong : {0u, 1u, 511u, 513u, 0x7fffffffu, 0xffffffffu}) {
        Bytes pdu = MakePdu(type, 512);
        PutLe32(pdu, 16, wrong);
        Seal(pdu);
        ExpectViolation(pdu, fes::kInvalidHeaderField, 4);
      }
      Bytes pdu = MakePdu(type);
      PutLe32(pdu, 16, 4);
      Seal(pdu);
      ExpectViolation(pdu, fes::kInvalidHeaderField, 4);
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, TakesNoDataInTheHeaderOrOutOfAlignment) {
  WithEveryAgreement([&] {
    const unsigned unit = (agreed_.pda + 1u) * 4;
    const unsigned head = 72 + (agreed_.header_digest ? 4u : 0);
    for (unsigned pdo = 0; pdo < 256; ++pdo) {
      Bytes pdu = MakePdu(kCapsule, 512);
      pdu[3] = static_cast<uint8_t>(pdo);
      Seal(pdu);
      if (pdo < head || pdo > 128 || pdo % unit != 0) {
        ExpectViolation(pdu, fes::kInvalidHeaderField, 3);
      } else {
        // There is less data then, or more.
        Read(pdu, 65536);
        EXPECT_FALSE(violation_) << pdo;
      }
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, TakesNoPaddingWithoutData) {
  WithEveryAgreement([&] {
    Bytes pdu = MakePdu(kCapsule, 4);
    const uint32_t digest = agreed_.data_digest ? 4 : 0;
    PutLe32(pdu, 4, uint32_t{pdu[3]} + digest);
    Seal(pdu);
    if (uint32_t{pdu[3]} + digest == 72u + (agreed_.header_digest ? 4u : 0)) return;
    ExpectViolation(pdu, fes::kInvalidHeaderField, 4);
  });
}

TEST_F(NvmeTcpPduReaderTest, TakesOnlyTheDigestFlagsAgreed) {
  WithEveryAgreement([&] {
    for (const TypeFacts& facts : kTypes) {
      end_ = facts.reader;
      Bytes pdu = MakePdu(facts.type, facts.data ? 512 : 0);
      if (!facts.digests) {
        for (const uint8_t flags : {uint8_t{1}, uint8_t{2}, uint8_t{3}}) {
          pdu[1] = flags;
          ExpectViolation(pdu, fes::kInvalidHeaderField, 1);
        }
        continue;
      }
      pdu[1] ^= 1;
      ExpectViolation(pdu, fes::kInvalidHeaderField, 1);
      if (!facts.data) continue;
      pdu[1] ^= 1 | 2;
      Seal(pdu);
      ExpectViolation(pdu, fes::kInvalidHeaderField, 1);
    }
  });
}

TEST_F(NvmeTcpPduReaderTest, DoesNotLookAtReservedBits) {
  Bytes pdu = MakePdu(kCapsule, 512, 4);
  pdu[1] |= 0xf0;
  EXPECT_EQ(Read(pdu, 65536), std::vector{Expected(kCapsule, 512, 4)});
  pdu = MakePdu(0x00);
  pdu[1] = 0xfc;
  pdu[3] = 0xff;
  EXPECT_EQ(Read(pdu, 65536).size(), 1u);
}

TEST_F(NvmeTcpPduReaderTest, SeesEveryFlippedBitOfADigestedHeader) {
  agreed_ = {.header_digest = true, .data_digest = true};
  const Bytes right = MakePdu(kCapsule, 512);
  for (size_t bit = 0; bit < 76 * 8; ++bit) {
    Bytes pdu = right;
    pdu[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    EXPECT_TRUE(Read(pdu, 65536).empty());
    ASSERT_TRUE(violation_) << bit;
    if (bit / 8 >= 3) {
      ASSERT_EQ(violation_->fes, fes::kHeaderDigestError) << bit;
      ASSERT_EQ(violation_->fei, uint32_t{pdu[72]} | uint32_t{pdu[73]} << 8 |
                                     uint32_t{pdu[74]} << 16 | uint32_t{pdu[75]} << 24);
    }
  }
}

TEST_F(NvmeTcpPduReaderTest, TellsAWrongDataDigestAndGoesOn) {
  for (const bool header_digest : {false, true}) {
    agreed_ = {.header_digest = header_digest, .data_digest = true};
    for (const uint32_t bytes : {1u, 512u, 8192u, 8193u, 50'000u}) {
      for (const size_t at : {size_t{5}, size_t{4}, size_t{1}}) {
        Bytes stream = MakePdu(kToController, bytes, 1);
        stream[stream.size() - at] ^= 0x10;  // The last byte of the data, and the digest.
        const Bytes next = MakePdu(kCapsule, 512, 2);
        stream.insert(stream.end(), next.begin(), next.end());
        for (const size_t chunk : {1u, 100u, 8200u, 65536u}) {
          const std::vector<Seen> seen = Read(stream, chunk);
          ASSERT_EQ(seen.size(), 2u);
          EXPECT_FALSE(seen[0].digest_ok);
          EXPECT_EQ(seen[0].data.size(), bytes);
          EXPECT_EQ(seen[1], Expected(kCapsule, 512, 2));
        }
      }
    }
  }
}

}  // namespace
}  // namespace pollux::nvme_tcp
