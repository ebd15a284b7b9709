#include "targets/nvmf/tcp/tcp_connection.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux::nvmf {
namespace {

Queue::Limits LimitsOf(const TransportOptions& options) {
  return {.admin_depth_max = options.max_aq_depth,
          .io_depth_max = options.max_queue_depth,
          .in_capsule_bytes = options.in_capsule_data_size,
          .io_bytes_max = options.max_io_size,
          .io_queues_max = options.max_io_qpairs_per_ctrlr,
          .kas = options.kas,
          .kato_min_ms = options.min_kato};
}

}  // namespace

TcpConnection::TcpConnection(ConnectionGroup& group, Arrival arrival,
                             std::unique_ptr<ByteStream> stream)
    : group_(group),
      home_(*arrival.home),
      loop_(group.worker().reactor()),
      id_(arrival.id),
      listener_id_(arrival.listener_id),
      peer_(arrival.peer),
      stream_(std::move(stream)),
      c2h_success_(group.options().c2h_success),
      // Longer ones are refused by their type: see OnCapsule() and OnH2CData().
      reader_(PduReader::End::kController, kReadAheadBytes, /*plen_max=*/UINT32_MAX),
      queue_(group.worker(), *this, listener_id_, LimitsOf(group.options())),
      commands_(*this) {
  commands_.Grow(kCommandsBeforeConnect);
}

TcpConnection::~TcpConnection() { CHECK(state_ == State::kEnded); }

void TcpConnection::Open() {
  loop_.ArmTimerIn(connect_timer_, kConnectNs);
  stream_->Start(*this);
}

void TcpConnection::Enter(State next) {
  CHECK(next > state_);
  static constexpr const char* kNames[] = {"awaits ICReq", "ready",    "terminating",
                                           "closing",      "draining", "ended"};
  LogDebug("nvmf", "connection %d: %s -> %s", id_, kNames[static_cast<size_t>(state_)],
           kNames[static_cast<size_t>(next)]);
  state_ = next;
}

// --- The end.

void TcpConnection::End(const char* reason, bool when_sent) {
  if (state_ >= State::kDraining) return;
  if (state_ < State::kClosing) {
    if (state_ != State::kTerminating) reason_ = reason;
    Enter(State::kClosing);
  } else if (when_sent) {
    return;
  }
  when_sent ? stream_->CloseWhenSent() : stream_->Close();
}

std::string TcpConnection::Who() const {
  const ControllerIdentity* const controller = queue_.controller();
  if (controller == nullptr) return peer_.ToString();
  return absl::StrFormat("%s (%s, queue %d)", peer_.ToString(), Printable(controller->hostnqn),
                         queue_.qid());
}

void TcpConnection::OnViolation(const nvme_tcp::Violation& violation) {
  reason_ = violation.reason;
  group_.worker().log().Notice("%s breaks the protocol: %s (FES %d, FEI %d)", Who(),
                               violation.reason, violation.fes, violation.fei);
  const auto header =
      violation.header.first(std::min(violation.header.size(), term_.header.size()));
  // A terminate request is not answered with another one. TCP §3.5
  const auto type = static_cast<nvme_tcp::PduType>(header.front());
  if (type == nvme_tcp::PduType::kH2CTermReq) return Close(violation.reason);

  std::ranges::copy(header, term_.header.begin());
  term_.pdu.ch = {nvme_tcp::PduType::kC2HTermReq, 0, sizeof(nvme_tcp::TermReq), 0,
                  static_cast<uint32_t>(sizeof(nvme_tcp::TermReq) + header.size())};
  term_.pdu.fes = violation.fes;
  term_.pdu.fei = violation.fei;
  term_.parts[0] = {&term_.pdu, sizeof(term_.pdu)};
  term_.parts[1] = {term_.header.data(), header.size()};
  term_.part_count = 2;
  Enter(State::kTerminating);
  stream_->Send(term_);
  stream_->CloseWhenSent();
}

void TcpConnection::OnClosed(const Status& why) {
  Enter(State::kDraining);
  group_.worker().log().Info("the connection of %s has ended: %s %s", Who(), reason_,
                             why.ok() ? "" : std::string(why.message()));
  loop_.CancelTimer(connect_timer_);
  loop_.CancelTimer(stall_timer_);
  loop_.CancelTimer(let_go_timer_);
  if (resume_.deferred()) loop_.CancelDeferred(resume_);
  streaming_ = nullptr;
  while (lent_.PopFront() != nullptr) {
  }
  while (waiting_.PopFront() != nullptr) {
  }
  queue_.Close();
}

void TcpConnection::OnQueueEnded() {
  Enter(State::kEnded);
  loop_.Defer(end_);
}

void TcpConnection::OnStallTick() {
  const uint64_t sent = stream_->counters().bytes_sent;
  const bool queued = stream_->queued_bytes() > 0;
  if (queued && queued_at_last_tick_ && sent == sent_at_last_tick_) {
    return Close("its host does not read");
  }
  queued_at_last_tick_ = queued;
  sent_at_last_tick_ = sent;
  loop_.ArmTimerIn(stall_timer_, kStallNs);
}

// --- Receiving.

size_t TcpConnection::ReceiveInto(std::span<iovec> parts) {
  place_count_ = 0;
  if (!receiving() || backlog_) return 0;
  // The read-ahead is about to be overwritten.
  while (TcpCommand* command = lent_.PopFront()) command->SetAside();

  size_t count = 0;
  if (const uint32_t streaming = reader_.streaming(); streaming > 0) {
    count = streaming_->ListPlaces(parts.first(parts.size() - 1), streaming, group_.scrap());
    std::copy_n(parts.begin(), count, places_.begin());
    place_count_ = count;
    if (BytesOf(parts.first(count)) < streaming) return count;
  }
  std::span<std::byte> space = reader_.Space();
  if (count > 0 || large_r2ts_ > 0) {
    space = space.first(std::min(space.size(), kReadAheadBehindData));
  }
  parts[count++] = {space.data(), space.size()};
  return count;
}

void TcpConnection::OnReceived(size_t bytes) {
  for (size_t i = 0; i < place_count_ && bytes > 0; ++i) {
    const size_t here = std::min(bytes, places_[i].iov_len);
    reader_.Streamed({static_cast<const std::byte*>(places_[i].iov_base), here});
    streaming_->Landed(static_cast<uint32_t>(here));
    bytes -= here;
  }
  place_count_ = 0;
  if (streaming_ != nullptr && streaming_->drop_wanted()) {
    loop_.CancelTimer(let_go_timer_);
    streaming_->Drop();
  }
  if (!receiving()) return;
  if (bytes > 0) reader_.Received(bytes);
  Process();
}

bool TcpConnection::IsReceivingInto(const TcpCommand& command) {
  // The other kind of stream reads when it has asked for the places, or not at all.
  if (group_.stream() != StreamKind::kUring) return false;
  if (streaming_ != &command || place_count_ == 0) return false;
  loop_.ArmTimerIn(let_go_timer_, group_.options().abort_timeout_sec * kNsPerSecond);
  return true;
}

void TcpConnection::Process() {
  backlog_ = false;
  for (int budget = kPdusAtATime; receiving(); --budget) {
    if (budget == 0 || commands_.empty()) [[unlikely]] {
      backlog_ = true;
      // Else who releases a command resumes.
      if (!commands_.empty() && !resume_.deferred()) loop_.Defer(resume_);
      return;
    }
    const auto next = reader_.Next();
    if (const auto* const pdu = std::get_if<nvme_tcp::Pdu>(&next)) [[likely]] {
      OnPdu(*pdu);
    } else if (const auto* const end = std::get_if<PduReader::DataEnd>(&next)) {
      std::exchange(streaming_, nullptr)->EndPdu(end->digest_ok);
    } else if (const auto* const violation = std::get_if<nvme_tcp::Violation>(&next)) {
      return OnViolation(*violation);
    } else {
      return;
    }
  }
}

void TcpConnection::RunResume() {
  if (!receiving()) return;
  Process();
  if (!backlog_) stream_->ResumeReceive();
}

// --- Commands.

bool TcpConnection::MayStart(const TcpCommand& command) const {
  // The halves of a fused pair come one right behind the other.
  return command.cost() == 0 ||
         (command.entry.flags & (nvme::kFuseFirst | nvme::kFuseSecond)) != 0 ||
         (moving_bytes_ < kMovingBytesMax && waiting_.empty());
}

void TcpConnection::Start(TcpCommand& command) {
  moving_bytes_ += command.cost();
  queue_.Start(command);
}

void TcpConnection::StartWaiting() {
  while (moving_bytes_ < kMovingBytesMax && !fused_open_ && receiving()) {
    TcpCommand* const command = waiting_.PopFront();
    if (command == nullptr) return;
    Start(*command);
  }
}

void TcpConnection::Release(TcpCommand& command) {
  if (command.node_.linked()) lent_.Remove(command);
  moving_bytes_ -= command.cost();
  commands_.Give(command);
  if (!connected_ && queue_.controller() != nullptr) [[unlikely]]
    OnConnected();
  if (!waiting_.empty()) [[unlikely]]
    StartWaiting();
  if (backlog_ && receiving() && !resume_.deferred()) [[unlikely]]
    loop_.Defer(resume_);
}

void TcpConnection::OnConnected() {
  if (!receiving()) return;
  connected_ = true;
  commands_.Grow(queue_.depth() + kCommandsToSpare);
  loop_.CancelTimer(connect_timer_);
  loop_.ArmTimerIn(stall_timer_, kStallNs);
  home_.OnConnected();
}

}  // namespace pollux::nvmf
