#pragma once
#include <memory>
#include <string>

#include "core/log_limiter.h"
#include "core/method_call.h"
#include "core/net/address.h"
#include "core/net/byte_stream.h"
#include "targets/iscsi/connection.h"
#include "targets/iscsi/iscsi_target.h"
#include "targets/iscsi/login.h"
#include "targets/iscsi/pdu_reader.h"

namespace pollux::iscsi {

// A connection from accept to the end of its login. Login is control plane: it asks for targets,
// initiators and sessions, and it moves no data; so it runs on the control loop, and reactors see
// only what has logged in.
//
//   kNegotiating --final reply--> kJoining --a session has it------+
//        |                           |                             v
//        |                           +--no session, refused--> kClosing --stream closed--> kGone
//        +--refused, timeout, peer gone---------------------------^
//
// In kJoining nothing is received and nothing sent: the session's own stream does so next, on the
// same socket.
class LoginConnection final : private ByteStream::Owner, private SendItem, private Login::Gate {
 public:
  enum class State { kNegotiating, kJoining, kClosing, kGone };
  static constexpr uint64_t kTimeoutNs = 30 * kNsPerSecond;

  class Host {
   public:
    virtual Login::Verdict Admit(const LoginConnection& login, const Login::Identity& identity) = 0;
    // Answered by HandedOver or Refuse.
    virtual void OnLoginComplete(LoginConnection& login) = 0;
    // It may be destroyed, but not from within.
    virtual void OnLoginGone(LoginConnection& login) = 0;
    // What strangers can make us say.
    virtual LogLimiter& log() = 0;

   protected:
    ~Host() = default;
  };

  static Result<std::unique_ptr<LoginConnection>> Make(Loop& loop, Host& host, UniqueFd socket,
                                                       int32_t id, int32_t pg_tag,
                                                       const Parameters& ours);
  void Open();
  void Close(const char* reason);

  // What the session's connection needs; once, in kJoining.
  Result<Connection::Arrival> MakeArrival();
  void HandedOver();
  void Refuse(LoginStatus status);

  State state() const { return state_; }
  int32_t pg_tag() const { return pg_tag_; }
  const SocketAddress& initiator_address() const { return initiator_address_; }
  const Login::Identity& identity() const { return login_.identity(); }
  const Parameters& parameters() const { return login_.parameters(); }
  uint32_t cmd_sn() const { return reply_.header.exp_cmd_sn; }
  ConnectionInfo info() const;

 private:
  LoginConnection(Loop& loop, Host& host, UniqueFd socket, int32_t id, int32_t pg_tag,
                  const Parameters& ours);

  size_t ReceiveInto(std::span<iovec> places) override;
  void OnReceived(size_t bytes) override;
  void OnClosed(const Status& why) override;
  void OnSent(bool ok) override;
  Login::Verdict Admit(const Login::Identity& identity) override;

  void Enter(State next);
  void Process();
  void OnPdu(const Pdu& pdu);
  void SendReply();
  void LogRefusal();
  void OnTimeout();
  void MaybeGone();

  Loop& loop_;
  Host& host_;
  const int32_t id_;
  const int32_t pg_tag_;
  UniqueFd socket_;  // The stream has a duplicate: this one goes on to the session.
  SocketAddress initiator_address_, target_address_;
  std::unique_ptr<ByteStream> stream_;
  bool stream_closed_ = false;
  PduReader reader_;
  Login login_;
  State state_ = State::kNegotiating;
  Login::Reply reply_;
  BasicHeader request_{};  // The last one.
  TimerCall<LoginConnection, &LoginConnection::OnTimeout> timeout_{*this};
};

}  // namespace pollux::iscsi
