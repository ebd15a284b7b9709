// Data in both directions, as it should be.
#include <sys/socket.h>

#include "core/spec/nvme_tcp_spec.h"
#include "tests/unit/targets/nvmf/tcp/tcp_fixture.h"

namespace pollux::nvmf {
namespace {

iovec PartOf(Bytes& bytes, size_t from, size_t count) { return {bytes.data() + from, count}; }
iovec PartOf(Bytes& bytes) { return PartOf(bytes, 0, bytes.size()); }

class TcpDataTest : public TcpTest {
 protected:
  template <typename Body>
  void WithEveryAgreement(Body body) {
    for (int digests = 0; digests < 4; ++digests) {
      for (const uint8_t hpda : {uint8_t{0}, uint8_t{31}}) {
        header_digest_ = (digests & 1) != 0;
        data_digest_ = (digests & 2) != 0;
        hpda_ = hpda;
        OpenQueue();
        body();
      }
    }
  }
  // The R2T that came last.
  uint16_t ExpectR2t(const Bytes& pdu, uint16_t cid, uint32_t offset, uint32_t bytes) {
    EXPECT_EQ(pdu.size(), 24u);
    EXPECT_EQ(pdu[0], kR2tType);
    EXPECT_EQ(Le16At(pdu, 8), cid);
    EXPECT_NE(Le16At(pdu, 10), 0);
    EXPECT_EQ(Le32At(pdu, 12), offset);
    EXPECT_EQ(Le32At(pdu, 16), bytes);
    return Le16At(pdu, 10);
  }
  void ExpectData(const Bytes& pdu, uint16_t cid, uint32_t offset, const Bytes& data,
                  uint8_t flags) {
    EXPECT_EQ(pdu[0], kC2HDataType);
    EXPECT_EQ(pdu[1] & 0x0c, flags);
    EXPECT_EQ(pdu[2], 24);
    EXPECT_EQ(pdu[3] % ((hpda_ + 1) * 4), 0);
    EXPECT_EQ(Le16At(pdu, 8), cid);
    EXPECT_EQ(Le32At(pdu, 12), offset);
    EXPECT_EQ(Le32At(pdu, 16), data.size());
    EXPECT_EQ(DataOf(pdu), data);
  }
};

TEST_F(TcpDataTest, SendsDataAndSuccessInOnePdu) {
  WithEveryAgreement([&] {
    Send(ReadCapsule(7, 4096));
    EXPECT_EQ(Started().data_bytes, 4096u);
    EXPECT_EQ(Started().cid(), 7);
    Bytes data = Pattern(4096);
    const iovec part = PartOf(data);
    Command* const command = &Started();
    target_.Give(*command, 0, {&part, 1});
    EXPECT_EQ(target_.heard[command].sent, 0) << "never from within";
    ExpectData(ReceiveOne(), 7, 0, data, kLast | kSuccessFlag);
    EXPECT_EQ(target_.heard[command].sent, 1);
    EXPECT_TRUE(target_.started.empty());
  });
}

TEST_F(TcpDataTest, SendsAResponseWhereSuccessAloneSaysTooLittle) {
  WithEveryAgreement([&] {
    Send(ReadCapsule(7, 512));
    Bytes data = Pattern(512);
    const iovec part = PartOf(data);
    target_.Give(Started(), 0, {&part, 1}, true, /*dw0=*/0x1234);
    const std::vector<Bytes> pdus = Receive();
    ASSERT_EQ(pdus.size(), 2u);
    ExpectData(pdus[0], 7, 0, data, kLast);
    ExpectResponse(pdus[1], 7);
    EXPECT_EQ(Le32At(pdus[1], 8), 0x1234u);
  });
}

TEST_F(TcpDataTest, SendsAResponseWithEachReadWhenToldTo) {
  options_.c2h_success = false;
  WithEveryAgreement([&] {
    Send(ReadCapsule(7, 512));
    Bytes data = Pattern(512);
    const iovec part = PartOf(data);
    target_.Give(Started(), 0, {&part, 1});
    const std::vector<Bytes> pdus = Receive();
    ASSERT_EQ(pdus.size(), 2u);
    ExpectData(pdus[0], 7, 0, data, kLast);
    ExpectResponse(pdus[1], 7);
  });
}

TEST_F(TcpDataTest, SendsDataOfManyPartsAndBursts) {
  WithEveryAgreement([&] {
    Send(ReadCapsule(7, 20'000));
    Bytes data = Pattern(20'000);
    Command& command = Started();
    std::vector<iovec> parts;
    for (size_t at = 0; at < 10'000; at += 1000) parts.push_back(PartOf(data, at, 1000));
    target_.Give(command, 0, parts, /*last=*/false);
    const iovec rest = PartOf(data, 10'000, 10'000);
    target_.on_sent = [&](Command& c) { target_.Give(c, 10'000, {&rest, 1}); };
    Bytes got;
    const std::vector<Bytes> pdus = Receive();
    for (const Bytes& pdu : pdus) {
      EXPECT_EQ(Le32At(pdu, 12), got.size());
      const bool last = &pdu == &pdus.back();
      EXPECT_EQ(pdu[1] & 0x0c, last ? kLast | kSuccessFlag : 0);
      const Bytes piece = DataOf(pdu);
      got.insert(got.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(got, data);
    EXPECT_EQ(target_.heard[&command].sent, 2);
    target_.on_sent = {};
  });
}

TEST_F(TcpDataTest, EndsACommandWithoutData) {
  WithEveryAgreement([&] {
    Send(Capsule({.opcode = kFlush, .cid = 9}));
    EXPECT_EQ(Started().data_bytes, 0u);
    target_.End(Started(), 0x281, 5);
    const Bytes response = ReceiveOne();
    ExpectResponse(response, 9, 0x281);
    EXPECT_EQ(Le32At(response, 8), 5u);
  });
}

TEST_F(TcpDataTest, TakesInCapsuleDataWithinStart) {
  WithEveryAgreement([&] {
    const Bytes data = Pattern(4096);
    Bytes store(4096);
    const iovec parts[] = {PartOf(store, 0, 100), PartOf(store, 100, 3996)};
    target_.on_start = [&](Command& c) { target_.Want(c, 0, parts); };
    target_.on_arrived = [&](Command& c) { target_.End(c); };
    Send(InCapsule(3, data));
    ExpectResponse(ReceiveOne(), 3);
    EXPECT_EQ(store, data);
    target_.on_start = target_.on_arrived = {};
  });
}

TEST_F(TcpDataTest, KeepsInCapsuleDataForALaterDemand) {
  WithEveryAgreement([&] {
    const Bytes first = Pattern(4096, 1), second = Pattern(8192, 2);
    SendAll({InCapsule(3, first), InCapsule(4, second)});
    // What comes next overwrites the read-ahead.
    SendAll({InCapsule(5, Pattern(8192, 3)), InCapsule(6, Pattern(8192, 4))});
    target_.on_arrived = [&](Command& c) { target_.End(c); };
    Bytes store(8192);
    const iovec whole = PartOf(store);
    target_.Want(Started(1), 0, {&whole, 1});
    EXPECT_EQ(store, second);
    Bytes other(4096);
    const iovec half = PartOf(other, 2048, 2048);
    target_.Want(Started(0), 2048, {&half, 1});
    EXPECT_TRUE(std::equal(other.begin() + 2048, other.end(), first.begin() + 2048));
    EXPECT_EQ(Receive().size(), 2u);
    target_.on_arrived = {};
  });
}

TEST_F(TcpDataTest, FindsInCapsuleDataAtItsOffset) {
  OpenQueue();
  const Bytes data = Pattern(1024);
  Bytes store(512);
  const iovec part = PartOf(store);
  target_.on_start = [&](Command& c) { target_.Want(c, 0, {&part, 1}); };
  Send(Capsule({.opcode = kWrite,
                .sgl_type = kOffsetSgl,
                .sgl_address = 500,
                .sgl_bytes = 512,
                .data = data}));
  EXPECT_TRUE(std::equal(store.begin(), store.end(), data.begin() + 500));
  target_.on_start = {};
}

TEST_F(TcpDataTest, AsksForDataBurstByBurst) {
  for (const uint32_t bytes : {512u, 8192u, 8193u, 65536u, 131072u}) {
    WithEveryAgreement([&] {
      const Bytes data = Pattern(2 * bytes);
      Bytes store(2 * bytes);
      const iovec first[] = {PartOf(store, 0, 100), PartOf(store, 100, bytes - 100)};
      const iovec second = PartOf(store, bytes, bytes);
      Send(WriteCapsule(3, 2 * bytes));
      Command& command = Started();
      target_.Want(command, 0, first);
      uint16_t ttag = ExpectR2t(ReceiveOne(), 3, 0, bytes);
      const uint16_t first_tag = ttag;
      target_.on_arrived = [&](Command& c) { target_.Want(c, bytes, {&second, 1}); };
      Send(H2CData(3, ttag, 0, Bytes(data.begin(), data.begin() + bytes)));
      ttag = ExpectR2t(ReceiveOne(), 3, bytes, bytes);
      EXPECT_NE(ttag, first_tag);
      target_.on_arrived = [&](Command& c) { target_.End(c); };
      Send(H2CData(3, ttag, bytes, Bytes(data.begin() + bytes, data.end())));
      ExpectResponse(ReceiveOne(), 3);
      EXPECT_EQ(store, data);
      target_.on_arrived = {};
    });
  }
}

TEST_F(TcpDataTest, TakesTheDataOfAnR2TInPieces) {
  for (const uint32_t piece : {1u, 500u, 8192u, 10'000u}) {
    WithEveryAgreement([&] {
      const Bytes data = Pattern(piece * 3);
      Bytes store(data.size());
      const iovec part = PartOf(store);
      Send(WriteCapsule(3, static_cast<uint32_t>(data.size())));
      target_.Want(Started(), 0, {&part, 1});
      const uint16_t ttag = Le16At(ReceiveOne(), 10);
      target_.on_arrived = [&](Command& c) { target_.End(c); };
      for (uint32_t at = 0; at < data.size(); at += piece) {
        Send(H2CData(3, ttag, at, Bytes(data.begin() + at, data.begin() + at + piece),
                     at + piece == data.size() ? kLast : uint8_t{0}));
      }
      ExpectResponse(ReceiveOne(), 3);
      EXPECT_EQ(store, data);
      target_.on_arrived = {};
    });
  }
}

TEST_F(TcpDataTest, InterleavesTheDataOfManyWrites) {
  data_digest_ = true;
  OpenQueue();
  constexpr uint16_t kWrites = 8;
  constexpr uint32_t kBytes = 20'000;
  std::vector<Bytes> stores(kWrites, Bytes(kBytes));
  std::vector<iovec> parts;
  for (Bytes& store : stores) parts.push_back(PartOf(store));
  for (uint16_t i = 0; i < kWrites; ++i) Send(WriteCapsule(i, kBytes));
  for (uint16_t i = 0; i < kWrites; ++i) target_.Want(Started(i), 0, {&parts[i], 1});
  const std::vector<Bytes> r2ts = Receive();
  ASSERT_EQ(r2ts.size(), kWrites);
  target_.on_arrived = [&](Command& c) { target_.End(c); };
  Bytes stream;
  for (const uint32_t at : {0u, 10'000u}) {
    for (uint16_t i = kWrites; i-- > 0;) {
      const Bytes data = Pattern(kBytes, static_cast<uint8_t>(i));
      const Bytes pdu =
          H2CData(i, Le16At(r2ts[i], 10), at, Bytes(data.begin() + at, data.begin() + at + 10'000),
                  at > 0 ? kLast : uint8_t{0});
      stream.insert(stream.end(), pdu.begin(), pdu.end());
    }
  }
  Send(stream);
  EXPECT_EQ(Receive().size(), kWrites);
  for (uint16_t i = 0; i < kWrites; ++i) {
    EXPECT_EQ(stores[i], Pattern(kBytes, static_cast<uint8_t>(i)));
  }
  target_.on_arrived = {};
}

TEST_F(TcpDataTest, DoesNotMindWhereTheStreamIsCut) {
  header_digest_ = data_digest_ = true;
  const Bytes data = Pattern(9000);
  Bytes store(9000);
  const iovec part = PartOf(store);
  target_.on_arrived = [&](Command& c) { target_.End(c); };
  for (const size_t chunk : {1u, 7u, 100u, 4096u}) {
    OpenQueue();
    store.assign(9000, 0);
    Send(WriteCapsule(3, 9000));
    target_.Want(Started(), 0, {&part, 1});
    const Bytes pdu = H2CData(3, Le16At(ReceiveOne(), 10), 0, data);
    for (size_t at = 0; at < pdu.size(); at += chunk) {
      Send(Bytes(pdu.begin() + static_cast<ptrdiff_t>(at),
                 pdu.begin() + static_cast<ptrdiff_t>(std::min(at + chunk, pdu.size()))));
    }
    ExpectResponse(ReceiveOne(), 3);
    EXPECT_EQ(store, data);
  }
  target_.on_arrived = {};
}

TEST_F(TcpDataTest, StartsADeepQueueInOrder) {
  target_.depth = 1024;
  OpenQueue();
  Bytes stream;
  for (uint16_t cid = 0; cid < 1023; ++cid) {
    const Bytes pdu = Capsule({.opcode = kFlush, .cid = cid});
    stream.insert(stream.end(), pdu.begin(), pdu.end());
  }
  for (int round = 0; round < 3; ++round) {
    Send(stream);
    ASSERT_EQ(target_.started.size(), 1023u);
    for (uint16_t cid = 0; cid < 1023; ++cid) ASSERT_EQ(Started(cid).cid(), cid);
    while (!target_.started.empty()) target_.End(*target_.started.back());
    EXPECT_EQ(Receive().size(), 1023u);
  }
}

TEST_F(TcpDataTest, LimitsWhatAHostThatDoesNotReadCanHold) {
  OpenQueue();
  for (uint16_t cid = 0; cid < 64; ++cid) Send(ReadCapsule(cid, 128 * 1024));
  EXPECT_EQ(target_.started.size(), 8u);
  // What moves no data is not held back, and a fused pair neither.
  Send(Capsule({.opcode = kFlush, .cid = 100}));
  Send(Capsule({.opcode = kCompare, .cid = 101, .sgl_bytes = 512, .flags = 0x41}));
  EXPECT_EQ(target_.started.size(), 10u);
  EXPECT_EQ(target_.started.back()->cid(), 101);
  // Not between the halves.
  target_.End(Started(0));
  EXPECT_EQ(target_.started.size(), 9u);
  Send(Capsule({.opcode = kWrite, .cid = 102, .sgl_bytes = 512, .flags = 0x42}));
  EXPECT_EQ(target_.started.size(), 11u);
  std::vector<uint16_t> order;
  while (!target_.started.empty()) {
    order.push_back(target_.started.front()->cid());
    target_.End(*target_.started.front());
    Settle();
  }
  EXPECT_EQ(order.size(), 63u + 3);
  EXPECT_EQ(order.back(), 63);
}

TEST_F(TcpDataTest, ClosesOnAHostThatDoesNotRead) {
  OpenQueue();
  Bytes data = Pattern(1 << 20);
  const iovec part = PartOf(data);
  const Bytes capsule = ReadCapsule(1, 1 << 20);
  // Nobody reads at the other end: Settle() would.
  ASSERT_EQ(send(host_.get(), capsule.data(), capsule.size(), 0), 72);
  for (int i = 0; i < 10; ++i) (*reactors_)[0].RunTurn();
  target_.Give(Started(), 0, {&part, 1});
  for (int tick = 0; tick < 2; ++tick) {
    for (int i = 0; i < 10; ++i) (*reactors_)[0].RunTurn();
    EXPECT_FALSE(HasEnded());
    clock_.Advance(TcpConnection::kStallNs);
  }
  for (int i = 0; i < 10; ++i) (*reactors_)[0].RunTurn();
  EXPECT_TRUE(HasEnded());
}

TEST_F(TcpDataTest, KeepsAnIdleConnection) {
  OpenQueue();
  for (int tick = 0; tick < 10; ++tick) {
    clock_.Advance(TcpConnection::kStallNs);
    Settle();
  }
  EXPECT_FALSE(HasEnded());
}

}  // namespace
}  // namespace pollux::nvmf
