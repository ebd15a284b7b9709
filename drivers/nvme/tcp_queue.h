#pragma once
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/net/address.h"
#include "core/nvme_tcp/pdu_reader.h"
#include "core/spec/nvme_spec.h"
#include "core/spec/nvme_tcp_spec.h"
#include "core/spec/nvmf_spec.h"
#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/queue_wire.h"
#include "drivers/nvme/tcp_command.h"

namespace pollux::nvme {

// One queue of a controller on a network: a TCP connection behind the rings of a QueuePair.
// NVMe/TCP Transport Specification 1.0c.
//
//   kClosed --Open()--> kConnecting --TCP--> kNegotiating --ICResp--> kJoining --Connect--> kReady
//                                            (any of these) --a fault, or its end--> kBroken
//   kReady, kBroken --Close() or Open()--> ...
//
// The control thread opens it, and drives it by Step() until it is ready; then it is the owner's of
// the queue, through OnDoorbell() and Work(), until the queue is drained. Of a fault the control
// thread hears by broken(), and whoever sleeps on the notice by that.
//
// The target is believed in nothing. It may end commands that it was given, once each, when all of
// them is sent; read data comes in order, to no more than was asked for, and a success without all
// of it is none; data is sent for as much as the command has, in order. Everything else ends the
// connection, with a terminate request that says why.
//
// Data goes between the socket and the caller's memory, but for pieces that came with a header.
class TcpQueue final : public QueueWire {
 public:
  struct Parts {
    uint16_t id = 0;
    uint16_t depth = 0;
    const SubmissionEntry* sq = nullptr;
    CompletionEntry* cq = nullptr;
    int event_set = -1;  // The socket is added to it (event_set.h). -1: nobody sleeps.
    int notice = -1;     // An eventfd that is rung when the connection breaks, or -1.
  };
  explicit TcpQueue(const Parts& parts);
  ~TcpQueue() { Close(); }
  TcpQueue(const TcpQueue&) = delete;
  TcpQueue& operator=(const TcpQueue&) = delete;

  // --- The control thread, while the queue is new or drained.

  struct Joining {
    SocketAddress address;
    std::optional<SocketAddress> source;
    bool header_digest = false, data_digest = false;
    ConnectCommand command;  // All but identifier and data pointer.
    ConnectData data;
    uint32_t user_timeout_ms = 0;  // TCP_USER_TIMEOUT: how long sent data may be unacknowledged.
  };
  // Begins to connect, whatever there was before.
  Status Open(const Joining& joining);
  enum class State : uint8_t { kClosed, kConnecting, kNegotiating, kJoining, kReady, kBroken };
  State Step();
  // How the Connect command ended; in kReady it succeeded.
  const pollux_nvme_completion& joined() const { return joined_; }
  // Bytes of data that a command may carry with it. 8192 until it is said.
  void SetInCapsuleBytes(uint32_t bytes) { in_capsule_bytes_ = bytes; }
  void Close();
  // Whether the target has commands that change something, or had when the connection ended.
  bool holds_changes() const;

  // --- The control thread, at any time after Open().

  // Nothing passes any more; the owner notices.
  void Cut();
  bool broken() const { return broken_.load(std::memory_order_acquire); }
  // In broken().
  const Status& failure() const { return failure_; }

  // --- The owner.
  void OnDoorbell(uint16_t tail) override;
  void Work() override;
  bool PrepareSleep() override;

 private:
  static constexpr uint16_t kConnectCid = 0xffff;

  void Enter(State next) { state_ = next; }
  void Break(Status why);
  void Violate(const nvme_tcp::Violation& violation);
  // A violation of the PDU under way.
  void Refuse(uint16_t fes, uint32_t fei, const char* reason, const nvme_tcp::Pdu& pdu);
  void SendTermReq(const nvme_tcp::Violation& violation);

  // Sending.
  void Take(const SubmissionEntry& entry);
  void BuildCapsule(TcpCommand& command, const SubmissionEntry& entry);
  void BuildData(TcpCommand& command);
  void FinishHeader(TcpCommand& command, size_t hlen, uint8_t flags);
  void FinishOtherHeader(TcpCommand& command, size_t hlen, uint8_t flags);
  void Enqueue(TcpCommand& command) {
    command.sent = 0;
    command.queued = true;
    command.next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = &command;
    last_ = &command;
  }
  void Flush();
  size_t Gather(std::span<iovec> parts) const;
  void Sent(size_t bytes);
  void WholePduSent(TcpCommand& command);

  // Receiving.
  void Receive();
  bool ReceiveOnce();  // False: there is no more now.
  void HandleAll();
  void Handle(const nvme_tcp::Pdu& pdu);
  void OnIcResp(const nvme_tcp::Pdu& pdu);
  void OnResponse(const nvme_tcp::Pdu& pdu);
  void OnData(const nvme_tcp::Pdu& pdu);
  void OnDataEnd(bool digest_ok);
  void OnR2T(const nvme_tcp::Pdu& pdu);
  void OnTermReq(const nvme_tcp::Pdu& pdu);
  // The command that an identifier names; null: none that has begun and not ended.
  TcpCommand* Find(uint16_t cid) {
    TcpCommand& command = commands_[cid & commands_mask_];
    return command.busy && command.cid == cid ? &command : nullptr;
  }
  void Complete(TcpCommand& command, pollux_nvme_completion completion);
  void Post(uint16_t cid, pollux_nvme_completion completion);

  void OnConnected();
  void SendIcReq();
  void SendConnect();

  const Parts parts_;
  const uint32_t commands_mask_;
  const std::unique_ptr<TcpCommand[]> commands_;
  State state_ = State::kClosed;
  UniqueFd socket_;
  std::optional<nvme_tcp::PduReader> reader_;
  Joining joining_;
  pollux_nvme_completion joined_{};

  // Agreed with the target.
  bool header_digest_ = false, data_digest_ = false;
  uint8_t cpda_ = 0;
  uint32_t maxh2cdata_ = 0;
  uint32_t in_capsule_bytes_ = 8192;

  // What is to be sent, in order.
  TcpCommand* first_ = nullptr;
  TcpCommand* last_ = nullptr;
  bool blocked_ = false;         // The socket took no more.
  bool hears_writable_ = false;  // The set is told of it.

  // Of the data that streams: whose it is, and where the rest goes.
  TcpCommand* streaming_ = nullptr;
  bool streaming_success_ = false;

  uint16_t sq_head_ = 0;
  uint16_t cq_tail_ = 0;
  uint16_t cq_phase_ = 1;

  Status failure_;
  std::atomic<bool> broken_{false};
};

}  // namespace pollux::nvme
