// A target that breaks the protocol costs its connections, and nothing else.
#include "tests/unit/drivers/nvme/tcp_world.h"

namespace pollux::nvme {
namespace {

using Connection = TcpPeer::Connection;
using nvme_tcp::kLastPdu;
using nvme_tcp::kSuccess;
namespace fes = nvme_tcp::fes;

class TcpLiesTest : public TcpWorld {
 protected:
  using Lie = std::function<void(Connection&, const SubmissionEntry&)>;

  // Attaches; then the answer to the next I/O command is a lie, once.
  void Expect(const Lie& lie) {
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    TakeQueue();
    peer_.on_command = [this, lie](Connection& connection, const SubmissionEntry& sqe) {
      if (connection.qid() == 0 || sqe.opc == admin::kFabrics || lied_) return false;
      lied_ = true;
      lie(connection, sqe);
      return true;
    };
  }
  // The command ends within a second, the target hears why, and all is well again.
  void CostsTheConnection(Ended& ended, uint16_t fes) {
    const uint64_t began = clock_.NowNs();
    Await(ended);
    EXPECT_LE(clock_.NowNs() - began, kNsPerSecond);
    EXPECT_EQ(ended.status(), POLLUX_NVME_ABORTED_BY_HOST);
    PollUntil(POLLUX_NVME_STATE_READY);
    if (fes != 0) {
      EXPECT_THAT(peer_.terminations, testing::Contains(fes));
    }
    Fill(peer_.disk().data(), 4096, 77);
    Ended again;
    ASSERT_EQ(Read(again, 4096), 0);
    Await(again);
    EXPECT_EQ(again.status(), 0);
    EXPECT_EQ(memcmp(data_, peer_.disk().data(), 4096), 0);
    EXPECT_EQ(ended.calls, 1);
  }
  void AReadThatMeets(const Lie& lie, uint16_t fes, size_t bytes = 4096) {
    Expect(lie);
    Ended ended;
    ASSERT_EQ(Read(ended, bytes), 0);
    CostsTheConnection(ended, fes);
  }
  void AWriteThatMeets(const Lie& lie, uint16_t fes, size_t bytes = 65536) {
    Expect(lie);
    Ended ended;
    ASSERT_EQ(Write(ended, bytes), 0);
    CostsTheConnection(ended, fes);
  }

  bool lied_ = false;
  std::vector<std::byte> junk_ = std::vector<std::byte>(1 << 20, std::byte{0xee});
};

TEST_F(TcpLiesTest, AResponseToACommandThatWasNeverSent) {
  AReadThatMeets(
      [](Connection& c, const SubmissionEntry& e) { c.Respond(static_cast<uint16_t>(e.cid + 1)); },
      fes::kInvalidHeaderField);
}

TEST_F(TcpLiesTest, AResponseOfAnotherGeneration) {
  AReadThatMeets([](Connection& c,
                    const SubmissionEntry& e) { c.Respond(static_cast<uint16_t>(e.cid ^ 0x8000)); },
                 fes::kInvalidHeaderField);
}

TEST_F(TcpLiesTest, ASecondResponse) {
  Expect([this](Connection& c, const SubmissionEntry& e) {
    c.SendData(e.cid, 0, junk_.data(), 4096, kLastPdu);
    c.Respond(e.cid);
    c.Respond(e.cid);
  });
  Ended ended;
  ASSERT_EQ(Read(ended, 4096), 0);
  Await(ended);
  EXPECT_EQ(ended.status(), 0);
  PollUntil(POLLUX_NVME_STATE_RESETTING);
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(ended.calls, 1);
}

TEST_F(TcpLiesTest, ASuccessWithoutData) {
  AReadThatMeets([](Connection& c, const SubmissionEntry& e) { c.Respond(e.cid); },
                 fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, ASuccessWithHalfOfTheData) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 2048, kLastPdu | kSuccess);
      },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, AWriteThatSucceedsUnsent) {
  AWriteThatMeets([](Connection& c, const SubmissionEntry& e) { c.Respond(e.cid); },
                  fes::kSequenceError);
}

TEST_F(TcpLiesTest, DataForAWrite) {
  AWriteThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 4096, kLastPdu);
      },
      fes::kInvalidHeaderField);
}

TEST_F(TcpLiesTest, DataForNobody) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(static_cast<uint16_t>(e.cid + 7), 0, junk_.data(), 4096, kLastPdu);
      },
      fes::kInvalidHeaderField);
}

TEST_F(TcpLiesTest, DataBeyondTheCommand) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 4100, kLastPdu);
      },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, DataFarBeyondTheCommand) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 1 << 20, kLastPdu);
      },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, DataAtAnOffsetThatWraps) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0xfffffe00, junk_.data(), 512, kLastPdu);
      },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, DataTwice) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 2048, 0);
        c.SendData(e.cid, 0, junk_.data(), 2048, kLastPdu);
      },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, DataBehindTheLast) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 2048, kLastPdu);
        c.SendData(e.cid, 2048, junk_.data(), 2048, kLastPdu);
      },
      fes::kSequenceError);
}

TEST_F(TcpLiesTest, NoDataInADataPdu) {
  AReadThatMeets(
      [](Connection& c, const SubmissionEntry& e) { c.SendData(e.cid, 0, nullptr, 0, kLastPdu); },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, SuccessBeforeTheLast) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        c.SendData(e.cid, 0, junk_.data(), 4096, kSuccess);
      },
      fes::kInvalidHeaderField);
}

TEST_F(TcpLiesTest, ARequestForTheDataOfARead) {
  AReadThatMeets([](Connection& c, const SubmissionEntry& e) { c.SendR2T(e.cid, 1, 0, 4096); },
                 fes::kInvalidHeaderField);
}

TEST_F(TcpLiesTest, ARequestBeyondTheData) {
  AWriteThatMeets([](Connection& c, const SubmissionEntry& e) { c.SendR2T(e.cid, 1, 0, 65537); },
                  fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, ARequestThatWraps) {
  AWriteThatMeets(
      [](Connection& c, const SubmissionEntry& e) { c.SendR2T(e.cid, 1, 0xfffff000, 0x2000); },
      fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, ARequestForNothing) {
  AWriteThatMeets([](Connection& c, const SubmissionEntry& e) { c.SendR2T(e.cid, 1, 0, 0); },
                  fes::kDataTransferOutOfRange);
}

TEST_F(TcpLiesTest, ARequestForTheSameDataAgain) {
  AWriteThatMeets(
      [](Connection& c, const SubmissionEntry& e) {
        c.SendR2T(e.cid, 1, 0, 4096);
        c.SendR2T(e.cid, 2, 0, 4096);
      },
      0);
}

TEST_F(TcpLiesTest, ARequestForWhatCameWithTheCommand) {
  AWriteThatMeets([](Connection& c, const SubmissionEntry& e) { c.SendR2T(e.cid, 1, 0, 4096); },
                  fes::kDataTransferOutOfRange, 4096);
}

TEST_F(TcpLiesTest, ASecondICResp) {
  AReadThatMeets(
      [](Connection& c, const SubmissionEntry&) {
        nvme_tcp::ICResp response{};
        response.ch.type = nvme_tcp::PduType::kICResp;
        response.maxh2cdata = 131072;
        c.SendPdu(&response, sizeof(response), 0);
      },
      fes::kSequenceError);
}

TEST_F(TcpLiesTest, APduOfAHost) {
  AReadThatMeets(
      [](Connection& c, const SubmissionEntry&) {
        nvme_tcp::CapsuleCmd capsule{};
        capsule.ch.type = nvme_tcp::PduType::kCapsuleCmd;
        c.SendPdu(&capsule, sizeof(capsule), 0);
      },
      fes::kSequenceError);
}

TEST_F(TcpLiesTest, ATerminateRequest) {
  AReadThatMeets(
      [](Connection& c, const SubmissionEntry&) {
        nvme_tcp::TermReq request{};
        request.ch.type = nvme_tcp::PduType::kC2HTermReq;
        request.fes = fes::kDataTransferLimitExceeded;
        c.SendPdu(&request, sizeof(request), 0);
      },
      0);
  EXPECT_TRUE(Logged("data transfer limit exceeded"));
}

TEST_F(TcpLiesTest, AnEndInTheMidstOfData) {
  AReadThatMeets(
      [this](Connection& c, const SubmissionEntry& e) {
        nvme_tcp::DataPdu header{};
        header.ch.type = nvme_tcp::PduType::kC2HData;
        header.ch.hlen = header.ch.pdo = 24;
        header.ch.plen = 24 + 65536;
        header.cccid = e.cid;
        header.datal = 65536;
        std::vector<std::byte> bytes(24 + 30000);
        memcpy(bytes.data(), &header, 24);
        c.SendRaw(bytes);
        c.Step();
        c.Close();
      },
      0, 65536);
}

// CVE-2025-21927, and its like: HLEN of any value for any type, with digests and without.
class TcpHlenTest : public TcpLiesTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Digests, TcpHlenTest, testing::Bool());

TEST_P(TcpHlenTest, AnyHeaderLengthOfAnyPdu) {
  options_.header_digest = GetParam();
  options_.reset_attempts_max = 1;
  options_.reconnect_delay_ms = 1;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  for (const int type : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255}) {
    for (const int hlen : {0, 1, 7, 8, 20, 23, 25, 71, 127, 129, 255}) {
      bool lied = false;
      peer_.on_command = [&](Connection& c, const SubmissionEntry& e) {
        if (c.qid() <= 0 || e.opc == admin::kFabrics || lied) return false;
        lied = true;
        nvme_tcp::CommonHeader header{};
        header.type = static_cast<nvme_tcp::PduType>(type);
        header.hlen = static_cast<uint8_t>(hlen);
        header.flags = GetParam() ? nvme_tcp::kHdgstf : uint8_t{0};
        header.plen = static_cast<uint32_t>(hlen);
        std::vector<std::byte> bytes(300, std::byte{0xff});
        memcpy(bytes.data(), &header, sizeof(header));
        c.SendRaw(bytes);
        return true;
      };
      Ended ended;
      ASSERT_EQ(Read(ended, 4096), 0) << type << " " << hlen;
      Await(ended);
      EXPECT_EQ(ended.status(), POLLUX_NVME_ABORTED_BY_HOST) << type << " " << hlen;
      PollUntil(POLLUX_NVME_STATE_READY);
    }
  }
}

class TcpDigestLiesTest : public TcpLiesTest {
 protected:
  TcpDigestLiesTest() { options_.header_digest = options_.data_digest = true; }
};

TEST_F(TcpDigestLiesTest, AWrongHeaderDigestEndsTheConnection) {
  AReadThatMeets(
      [](Connection& c, const SubmissionEntry& e) {
        nvme_tcp::CapsuleResp response{};
        response.ch.type = nvme_tcp::PduType::kCapsuleResp;
        response.ch.flags = nvme_tcp::kHdgstf;
        response.ch.hlen = sizeof(response);
        response.ch.plen = sizeof(response) + 4;
        response.cqe.cid = e.cid;
        std::vector<std::byte> bytes(sizeof(response) + 4);
        memcpy(bytes.data(), &response, sizeof(response));
        c.SendRaw(bytes);
      },
      fes::kHeaderDigestError);
}

TEST_F(TcpDigestLiesTest, AWrongDataDigestCostsTheCommandAlone) {
  for (const uint32_t bytes : {4096u, 65536u}) {
    if (controller_ != nullptr) Detach();
    lied_ = false;
    peer_.on_command = nullptr;
    Expect([this, bytes](Connection& c, const SubmissionEntry& e) {
      c.SendData(e.cid, 0, junk_.data(), bytes, kLastPdu | kSuccess, /*damage_digest=*/true);
    });
    Ended ended;
    ASSERT_EQ(Read(ended, bytes), 0);
    Await(ended);
    EXPECT_EQ(ended.status(), status::kTransientTransportError);
    Ended again;
    ASSERT_EQ(Read(again, bytes), 0);
    Await(again);
    EXPECT_EQ(again.status(), 0);
    EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
    EXPECT_TRUE(peer_.terminations.empty());
  }
}

// --- While connecting.

struct IcRespCase {
  const char* name;
  uint16_t pfv;
  uint8_t cpda, dgst;
  uint32_t maxh2cdata;
  uint16_t fes;
};
class TcpIcRespTest : public TcpLiesTest, public testing::WithParamInterface<IcRespCase> {};
INSTANTIATE_TEST_SUITE_P(
    Wrong, TcpIcRespTest,
    testing::Values(IcRespCase{"version", 1, 0, 0, 131072, fes::kUnsupportedParameter},
                    IcRespCase{"alignment", 0, 32, 0, 131072, fes::kInvalidHeaderField},
                    IcRespCase{"digest", 0, 0, 1, 131072, fes::kInvalidHeaderField},
                    IcRespCase{"small", 0, 0, 0, 4092, fes::kInvalidHeaderField},
                    IcRespCase{"odd", 0, 0, 0, 8193, fes::kInvalidHeaderField},
                    IcRespCase{"none", 0, 0, 0, 0, fes::kInvalidHeaderField}),
    [](const auto& of) { return std::string(of.param.name); });

TEST_P(TcpIcRespTest, IsNotAttached) {
  peer_.on_icreq = [](Connection& c) {
    nvme_tcp::ICResp response{};
    response.ch.type = nvme_tcp::PduType::kICResp;
    response.pfv = GetParam().pfv;
    response.cpda = GetParam().cpda;
    response.dgst = GetParam().dgst;
    response.maxh2cdata = GetParam().maxh2cdata;
    c.SendPdu(&response, sizeof(response), 0);
    return true;
  };
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  Turns(10);
  EXPECT_THAT(peer_.terminations, testing::ElementsAre(GetParam().fes));
}

TEST_F(TcpLiesTest, AnEndAfterAnyByteOfTheConnection) {
  options_.connect_timeout_ms = 50;
  for (size_t bytes = 0; bytes < 128; bytes += 13) {
    peer_.on_icreq = [bytes](Connection& c) {
      nvme_tcp::ICResp response{};
      response.ch.type = nvme_tcp::PduType::kICResp;
      response.ch.hlen = 128;
      response.ch.plen = 128;
      response.maxh2cdata = 131072;
      std::vector<std::byte> part(bytes);
      if (bytes > 0) memcpy(part.data(), &response, bytes);
      c.SendRaw(part);
      c.Step();
      c.Close();
      return true;
    };
    EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
    Detach();
  }
}

TEST_F(TcpLiesTest, CapsulesTooSmallForACommand) {
  peer_.on_command = [](Connection& c, const SubmissionEntry& e) {
    if (e.opc != admin::kIdentify || (e.cdw10 & 0xff) != cns::kController) return false;
    IdentifyController identify{};
    identify.cntrltype = 1;
    identify.nn = 1;
    identify.sqes = 0x66;
    identify.cqes = 0x44;
    identify.ioccsz = 3;
    c.Deliver(e.cid, reinterpret_cast<const std::byte*>(&identify), 4096);
    return true;
  };
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), testing::HasSubstr("IOCCSZ"));
}

}  // namespace
}  // namespace pollux::nvme
