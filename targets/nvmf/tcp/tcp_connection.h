#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "core/intrusive_list.h"
#include "core/method_call.h"
#include "core/net/byte_stream.h"
#include "core/nvme_tcp/pdu_reader.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/tcp/command_table.h"
#include "targets/nvmf/tcp/connection_group.h"
#include "targets/nvmf/tcp/tcp_command.h"

namespace pollux::nvmf {

using nvme_tcp::PduReader;

// One TCP connection, which carries one queue. It lives on one reactor.
//
//   kAwaitIcReq --ICReq--> kReady --+--H2CTermReq, Close--------------> kClosing --+--> kDraining
//        |                          |                                     ^        |      |
//        +-------- a violation -----+--> kTerminating --C2HTermReq sent---+        |      v
//        +------------------------------ the host has closed ----------------------+    kEnded
//
// kTerminating, kClosing: nothing is read any more; what was queued may leave. kDraining: the
// stream is closed, and the queue ends what is in flight. kEnded: it is about to be destroyed.
class TcpConnection final : private ByteStream::Owner, private Queue::Carrier {
 public:
  enum class State : uint8_t { kAwaitIcReq, kReady, kTerminating, kClosing, kDraining, kEnded };

  // From accept to the end of Connect.
  static constexpr uint64_t kConnectNs = 30 * kNsPerSecond;
  // A host that takes nothing of what is queued for it for as long as this, or twice that, is lost.
  static constexpr uint64_t kStallNs = 15 * kNsPerSecond;
  // What a host may send in one H2CData.
  static constexpr uint32_t kMaxH2CDataBytes = 128 * 1024;
  // In-capsule data of admin and fabrics commands; that of I/O commands is the transport's option.
  static constexpr uint32_t kAdminCapsuleBytes = 8192;

  TcpConnection(ConnectionGroup& group, Arrival arrival, std::unique_ptr<ByteStream> stream);
  ~TcpConnection();
  void Open();
  // At once.
  void Close(const char* reason) { End(reason, /*when_sent=*/false); }

  Arrival::Home& home() { return home_; }
  uint64_t id() const { return id_; }
  uint32_t listener_id() const { return listener_id_; }
  State state() const { return state_; }

  // --- By its commands.
  struct Agreed {
    bool header_digest = false;
    bool data_digest = false;
    uint8_t c2h_pdo = sizeof(nvme_tcp::DataPdu);
  };
  const Agreed& agreed() const { return agreed_; }
  bool c2h_success() const { return c2h_success_; }
  // False once the stream is closed.
  bool can_send() const { return state_ < State::kDraining; }
  void Send(SendItem& item) { stream_->Send(item); }
  // Whether the kernel may be writing to its places now, and not only when it is told to.
  bool IsReceivingInto(const TcpCommand& command);
  // It is free again.
  void Release(TcpCommand& command);

 private:
  friend class TcpCommand;

  // Commands before Connect: it alone, and what an impatient host sends behind it.
  static constexpr size_t kCommandsBeforeConnect = 4;
  // More than the queue's entries: for those that the host has the answer of before we know.
  static constexpr size_t kCommandsToSpare = 16;
  static constexpr size_t kReadAheadBytes = 64 * 1024;
  // Where much data is to come that need not be copied: as much as a few headers need.
  static constexpr size_t kReadAheadBehindData = 4096;
  // PDUs without a pause for others.
  static constexpr int kPdusAtATime = 64;
  // Data that its commands may have under way, in and out of the network. One more may begin while
  // it is less than this.
  static constexpr uint32_t kMovingBytesMax = 1024 * 1024;

  struct TermItem final : SendItem {
    nvme_tcp::TermReq pdu{};
    std::array<std::byte, nvme_tcp::kTermReqDataMax> header;
    void OnSent(bool) override {}
  };
  struct IcRespItem final : SendItem {
    nvme_tcp::ICResp pdu{};
    void OnSent(bool) override {}
  };

  // ByteStream::Owner
  size_t ReceiveInto(std::span<iovec> parts) override;
  void OnReceived(size_t bytes) override;
  void OnClosed(const Status& why) override;
  // Queue::Carrier
  void OnEndWanted(const char* reason, bool when_sent) override { End(reason, when_sent); }
  void OnQueueEnded() override;
  std::string peer_address() const override { return peer_.host(); }
  std::string peer_port() const override { return std::to_string(peer_.port()); }

  void Enter(State next);
  std::string Who() const;  // For the log.
  void End(const char* reason, bool when_sent);
  bool receiving() const { return state_ <= State::kReady; }
  void Process();
  void RunResume();
  void OnPdu(const nvme_tcp::Pdu& pdu);
  void OnIcReq(const nvme_tcp::Pdu& pdu);
  void OnCapsule(const nvme_tcp::Pdu& pdu);
  void OnH2CData(const nvme_tcp::Pdu& pdu);
  void OnTermReq(const nvme_tcp::Pdu& pdu);
  void OnViolation(const nvme_tcp::Violation& violation);
  void Violate(const nvme_tcp::Pdu& pdu, uint16_t fes, uint32_t fei, const char* reason);

  void Start(TcpCommand& command);
  bool MayStart(const TcpCommand& command) const;
  void StartWaiting();
  void OnConnected();
  void OnConnectTimeout() { Close("its host did not connect in time"); }
  void OnStallTick();
  void OnLetGoTimeout() { Close("its host does not send what a command has to let go of"); }
  void RunEnd() { group_.OnEnded(*this); }

  ConnectionGroup& group_;
  Arrival::Home& home_;
  Loop& loop_;
  const uint64_t id_;
  const uint32_t listener_id_;
  const SocketAddress peer_;
  const std::unique_ptr<ByteStream> stream_;
  const bool c2h_success_;
  State state_ = State::kAwaitIcReq;
  bool connected_ = false;  // The Connect command succeeded.
  Agreed agreed_;
  const char* reason_ = "its host closed it";

  // Receiving.
  PduReader reader_;
  bool backlog_ = false;             // The reader has PDUs that wait for a free command or a turn.
  TcpCommand* streaming_ = nullptr;  // Whose data comes straight to its places.
  std::array<iovec, ByteStream::kReceivePartsMax> places_;  // Which these are, since ReceiveInto().
  size_t place_count_ = 0;
  uint32_t large_r2ts_ = 0;  // Outstanding ones whose data is worth not copying.
  IntrusiveList<TcpCommand, &TcpCommand::node_> lent_;  // Whose data lies in the read-ahead.

  // Commands.
  Queue queue_;
  CommandTable commands_;
  IntrusiveList<TcpCommand, &TcpCommand::node_> waiting_;
  uint32_t moving_bytes_ = 0;
  bool fused_open_ = false;  // A first half was started: the second comes next.

  IcRespItem ic_resp_;
  TermItem term_;
  uint64_t sent_at_last_tick_ = 0;
  bool queued_at_last_tick_ = false;
  TimerCall<TcpConnection, &TcpConnection::OnConnectTimeout> connect_timer_{*this};
  TimerCall<TcpConnection, &TcpConnection::OnStallTick> stall_timer_{*this};
  TimerCall<TcpConnection, &TcpConnection::OnLetGoTimeout> let_go_timer_{*this};
  DeferredCall<TcpConnection, &TcpConnection::RunResume> resume_{*this};
  DeferredCall<TcpConnection, &TcpConnection::RunEnd> end_{*this};
};

}  // namespace pollux::nvmf
