#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/memory/buffer_pool.h"
#include "core/uring/reactor_ring.h"
#include "targets/nvmf/tcp/connection_group.h"
#include "targets/nvmf/tcp/tcp_connection.h"
#include "tests/unit/targets/nvmf/tcp/scripted_target.h"

namespace pollux::nvmf {

using Bytes = std::vector<uint8_t>;

// A host at the other end of a socket, with its own reading of the standard: PDUs are bytes here.
class TcpTest : public testing::Test, protected Arrival::Home, private ControlSide {
 protected:
  // By number: figure 14 of the TCP transport.
  static constexpr uint8_t kIcReqType = 0x00, kIcRespType = 0x01, kH2CTermType = 0x02,
                           kC2HTermType = 0x03, kCapsuleType = 0x04, kResponseType = 0x05,
                           kH2CDataType = 0x06, kC2HDataType = 0x07, kR2tType = 0x09;
  static constexpr uint8_t kLast = 0x04, kSuccessFlag = 0x08;
  static constexpr uint8_t kWrite = 0x01, kRead = 0x02, kFlush = 0x00, kCompare = 0x05;
  static constexpr uint8_t kOffsetSgl = 0x01, kTransportSgl = 0x5a;

  TcpTest();
  ~TcpTest() override;

  // A new connection. What went before has ended.
  void Open();
  void HangUp() { host_.Reset(); }
  // As a host does: ICReq, and Connect of the queue.
  void Shake();
  void Connect(uint16_t qid = 1);
  void OpenQueue(uint16_t qid = 1) {
    Open();
    Shake();
    Connect(qid);
  }

  // --- PDUs of the host, right unless the caller damages them.
  Bytes IcReq() const;
  struct CapsuleSpec {
    uint8_t opcode = kFlush;
    uint16_t cid = 1;
    uint8_t sgl_type = kTransportSgl;
    uint64_t sgl_address = 0;
    uint32_t sgl_bytes = 0;
    Bytes data = {};
    uint8_t flags = 0x40;  // PSDT: SGL
  };
  Bytes Capsule(const CapsuleSpec& spec) const;
  Bytes ReadCapsule(uint16_t cid, uint32_t bytes) const {
    return Capsule({.opcode = kRead, .cid = cid, .sgl_bytes = bytes});
  }
  Bytes WriteCapsule(uint16_t cid, uint32_t bytes) const {
    return Capsule({.opcode = kWrite, .cid = cid, .sgl_bytes = bytes});
  }
  Bytes InCapsule(uint16_t cid, const Bytes& data) const {
    return Capsule({.opcode = kWrite,
                    .cid = cid,
                    .sgl_type = kOffsetSgl,
                    .sgl_bytes = static_cast<uint32_t>(data.size()),
                    .data = data});
  }
  Bytes H2CData(uint16_t cid, uint16_t ttag, uint32_t offset, const Bytes& data,
                uint8_t flags = kLast) const;
  // Puts digests where they belong and says so.
  void Seal(Bytes& pdu, size_t data_bytes) const;

  // --- What it does.
  void Send(const Bytes& bytes);
  void SendAll(std::initializer_list<Bytes> pdus);
  // Runs turns until nothing happens any more.
  void Settle();
  // What came, cut into PDUs, whose digests are checked and removed; the connection's end is an
  // empty one.
  std::vector<Bytes> Receive();
  Bytes ReceiveOne();
  bool HasEnded() const { return gone_ > 0; }

  // --- What the PDUs say.
  static uint16_t Le16At(const Bytes& pdu, size_t at) {
    return static_cast<uint16_t>(pdu[at] | pdu[at + 1] << 8);
  }
  static uint32_t Le32At(const Bytes& pdu, size_t at) {
    return uint32_t{Le16At(pdu, at)} | uint32_t{Le16At(pdu, at + 2)} << 16;
  }
  static void PutLe16(Bytes& pdu, size_t at, uint32_t value);
  static void PutLe32(Bytes& pdu, size_t at, uint32_t value);
  // Of a response: the command, and its status without phase tag.
  static uint16_t CidOf(const Bytes& response) { return Le16At(response, 20); }
  static uint16_t StatusOf(const Bytes& response) { return Le16At(response, 22) >> 1; }
  static Bytes DataOf(const Bytes& c2h_data) {
    return {c2h_data.begin() + c2h_data[3], c2h_data.end()};
  }
  void ExpectResponse(const Bytes& pdu, uint16_t cid, uint16_t status = 0);
  // The connection is terminated with these, after a terminate request that holds the header.
  void ExpectTermination(uint16_t fes, uint32_t fei, const Bytes& at_fault);

  void ExpectEndWithoutAnswer();

  static Bytes Pattern(size_t bytes, uint8_t seed = 1);
  Command& Started(size_t index = 0) {
    EXPECT_LT(index, target_.started.size());
    return *target_.started.at(index);
  }

  // The tests are built for each kind of stream.
#ifdef POLLUX_TEST_URING_STREAMS
  StreamKind kind_ = StreamKind::kUring;
#else
  StreamKind kind_ = StreamKind::kEpoll;
#endif
  TransportOptions options_;
  ManualClock clock_;
  ScriptedTarget target_;
  // What ICReq asks for.
  bool header_digest_ = false, data_digest_ = false;
  uint8_t hpda_ = 0;
  bool shaken_ = false;  // Digests count.
  int connected_ = 0, gone_ = 0;
  UniqueFd host_;
  std::unique_ptr<Reactors> reactors_;
  std::unique_ptr<ReactorRing> ring_;  // With kUring.
  std::unique_ptr<ConnectionGroup> group_;
  std::unique_ptr<Worker> worker_;

 private:
  void OnConnected() override { ++connected_; }
  void OnGone() override { ++gone_; }
  // ControlSide: the transport asks nothing of it.
  Task<ConnectVerdict> Admit(ConnectQuery) override { co_return ConnectVerdict{}; }
  Task<void> Leave(std::shared_ptr<const ControllerIdentity>, uint16_t) override { co_return; }
  std::string DiscoveryLog(const ControllerIdentity&) override { return {}; }
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity>) override { co_return Totals{}; }
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity>, uint16_t, uint16_t) override {
    co_return false;
  }
  Task<uint16_t> ProtectNamespace(std::string, uint32_t, nvme::WriteProtection) override {
    co_return uint16_t{0};
  }
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity>) override { co_return; }
  size_t IoQueuesOf(const ControllerIdentity&) override { return 0; }
  std::vector<uint16_t> ControllersOf(const std::string&, uint32_t) override { return {}; }

  Loop& reactor() { return (*reactors_)[0]; }
  Bytes received_;
  std::array<std::byte, 64> buffer_memory_;
  BufferPool buffers_{buffer_memory_.data(), 64, 1};
  uint64_t next_id_ = 1;
};

}  // namespace pollux::nvmf
