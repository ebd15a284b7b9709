#include "targets/iscsi/login_connection.h"

#include <fcntl.h>

#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux::iscsi {
namespace {

constexpr std::byte kPadding[4] = {};
constexpr size_t kReadAheadBytes = 16 * 1024;

const char* PhaseName(const Login& login) {
  if (!login.started()) return "not_started";
  switch (login.stage()) {
    case LoginStage::kSecurity:
      return "security_negotiation_phase";
    case LoginStage::kOperational:
      return "operational_negotiation_phase";
    case LoginStage::kFullFeature:
      return "full_feature_phase";
  }
  return "not_started";
}

}  // namespace

Result<std::unique_ptr<LoginConnection>> LoginConnection::Make(Loop& loop, Host& host,
                                                               UniqueFd socket, int32_t id,
                                                               int32_t pg_tag,
                                                               const Parameters& ours) {
  UniqueFd duplicate(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!duplicate.valid()) return ErrorOfErrno(errno, "cannot duplicate a socket");
  std::unique_ptr<LoginConnection> login(
      new LoginConnection(loop, host, std::move(socket), id, pg_tag, ours));
  ASSIGN_OR_RETURN(login->initiator_address_, SocketAddress::PeerOf(login->socket_.get()));
  ASSIGN_OR_RETURN(login->target_address_, SocketAddress::LocalOf(login->socket_.get()));
  ASSIGN_OR_RETURN(login->stream_, MakeByteStream(StreamKind::kEpoll, loop, std::move(duplicate)));
  return login;
}

LoginConnection::LoginConnection(Loop& loop, Host& host, UniqueFd socket, int32_t id,
                                 int32_t pg_tag, const Parameters& ours)
    : loop_(loop),
      host_(host),
      id_(id),
      pg_tag_(pg_tag),
      socket_(std::move(socket)),
      reader_(kReadAheadBytes, kLoginDataBytes),
      login_(ours, *this) {}

void LoginConnection::Open() {
  loop_.ArmTimerIn(timeout_, kTimeoutNs);
  stream_->Start(*this);
}

void LoginConnection::Enter(State next) {
  CHECK(next > state_);
  static constexpr const char* kNames[] = {"negotiating", "joining", "closing", "gone"};
  LogDebug("iscsi", "login %d: %s -> %s", id_, kNames[static_cast<int>(state_)],
           kNames[static_cast<int>(next)]);
  state_ = next;
}

ConnectionInfo LoginConnection::info() const {
  return {.id = id_,
          .cid = login_.identity().cid,
          .state = state_ < State::kClosing ? "running" : "exiting",
          .login_phase = PhaseName(login_),
          .initiator_address = initiator_address_.host(),
          .target_address = target_address_.host(),
          .thread_name = loop_.name()};
}

Login::Verdict LoginConnection::Admit(const Login::Identity& identity) {
  return host_.Admit(*this, identity);
}

size_t LoginConnection::ReceiveInto(std::span<iovec> places) {
  // One request at a time: what follows it waits until it was answered.
  if (state_ != State::kNegotiating || queued()) return 0;
  const std::span<std::byte> space = reader_.Space();
  places[0] = {space.data(), space.size()};
  return 1;
}

void LoginConnection::OnReceived(size_t bytes) {
  reader_.Received(bytes);
  Process();
}

void LoginConnection::Process() {
  if (state_ != State::kNegotiating || queued()) return;
  const auto next = reader_.Next();
  if (const auto* violation = std::get_if<Violation>(&next)) return Close(violation->reason);
  if (const auto* pdu = std::get_if<Pdu>(&next)) OnPdu(*pdu);
}

void LoginConnection::OnPdu(const Pdu& pdu) {
  request_ = *pdu.header;
  if (request_.operation() != Opcode::kLoginRequest) {
    return Refuse(LoginStatus::kInvalidDuringLogin);
  }
  const std::string_view text(reinterpret_cast<const char*>(pdu.data.data()), pdu.data.size());
  reply_ = login_.OnRequest(As<LoginRequestPdu>(request_), text);
  switch (reply_.outcome) {
    case Login::Outcome::kGoOn:
      return SendReply();
    case Login::Outcome::kComplete:
      Enter(State::kJoining);
      loop_.CancelTimer(timeout_);
      return host_.OnLoginComplete(*this);
    case Login::Outcome::kFailed:
      LogRefusal();
      SendReply();
      Enter(State::kClosing);
      return stream_->CloseWhenSent();
  }
}

void LoginConnection::LogRefusal() {
  host_.log().Notice("login of %s from %s to '%s' is refused, status %04x: %s",
                     Printable(identity().initiator_name), initiator_address_.ToString(),
                     Printable(identity().target_name), uint16_t{reply_.header.status},
                     login_.fault());
}

void LoginConnection::SendReply() {
  const auto length = static_cast<uint32_t>(reply_.text.size());
  const uint32_t padding = PaddedTo4(length) - length;
  part_count = 0;
  parts[part_count++] = {&reply_.header, sizeof(reply_.header)};
  if (length > 0) parts[part_count++] = {reply_.text.data(), length};
  if (padding > 0) parts[part_count++] = {const_cast<std::byte*>(kPadding), padding};
  stream_->Send(*this);
}

void LoginConnection::OnSent(bool) {
  if (state_ != State::kNegotiating) return;
  Process();
  if (state_ == State::kNegotiating && !queued()) stream_->ResumeReceive();
}

Result<Connection::Arrival> LoginConnection::MakeArrival() {
  CHECK(state_ == State::kJoining);
  UniqueFd socket(fcntl(socket_.get(), F_DUPFD_CLOEXEC, 0));
  if (!socket.valid()) return ErrorOfErrno(errno, "cannot duplicate a socket");
  Connection::Arrival arrival;
  arrival.id = id_;
  arrival.cid = identity().cid;
  arrival.pg_tag = pg_tag_;
  arrival.socket = std::move(socket);
  arrival.initiator_address = initiator_address_;
  arrival.target_address = target_address_;
  arrival.max_recv_data_segment_length = parameters().max_recv_data_segment_length;
  arrival.digests = {parameters().header_digest, parameters().data_digest};
  arrival.next_stat_sn = reply_.header.stat_sn;
  arrival.leftover.assign(reinterpret_cast<const char*>(reader_.leftover().data()),
                          reader_.leftover().size());
  arrival.final_response = reply_.header;
  arrival.final_text = reply_.text;
  return arrival;
}

void LoginConnection::HandedOver() {
  Enter(State::kClosing);
  socket_.Reset();
  if (!stream_closed_) return stream_->Close();
  MaybeGone();
}

void LoginConnection::Refuse(LoginStatus status) {
  reply_ = login_.Refuse(request_, status);
  LogRefusal();
  Enter(State::kClosing);
  if (stream_closed_) return MaybeGone();
  SendReply();
  stream_->CloseWhenSent();
}

void LoginConnection::Close(const char* reason) {
  if (state_ != State::kNegotiating) return;
  host_.log().Info("login %d from %s is closed: %s", id_, initiator_address_.ToString(), reason);
  Enter(State::kClosing);
  stream_->Close();
}

void LoginConnection::OnTimeout() { Close("it took longer than 30 s"); }

void LoginConnection::OnClosed(const Status&) {
  stream_closed_ = true;
  if (state_ == State::kJoining) return;  // HandedOver or Refuse follows.
  if (state_ == State::kNegotiating) Enter(State::kClosing);
  MaybeGone();
}

void LoginConnection::MaybeGone() {
  Enter(State::kGone);
  loop_.CancelTimer(timeout_);
  host_.OnLoginGone(*this);
}

}  // namespace pollux::iscsi
