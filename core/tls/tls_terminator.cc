#include "core/tls/tls_terminator.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace pollux {
namespace {

// Then other connections have their turn.
constexpr int kStepsPerTurnMax = 16;

// Bytes on their way from one side to the other.
class Transit {
 public:
  bool empty() const { return begin_ == end_; }
  char* data() { return bytes_.data() + begin_; }
  size_t size() const { return end_ - begin_; }
  char* room() { return bytes_.data(); }  // While it is empty.
  size_t room_bytes() const { return bytes_.size(); }
  void Fill(size_t bytes) {
    begin_ = 0;
    end_ = bytes;
  }
  void Drop(size_t bytes) { begin_ += bytes; }
  void Clear() { begin_ = end_ = 0; }

 private:
  std::array<char, TlsTerminator::kBufferBytes> bytes_;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace

// One connection. `kClosing` sends what is left to the client, and then ends.
class TlsTerminator::Tunnel {
 public:
  Tunnel(TlsTerminator& terminator, UniqueFd socket, std::string peer)
      : terminator_(terminator),
        loop_(terminator.loop_),
        peer_(std::move(peer)),
        cipher_(std::move(socket)),
        session_(terminator.context_->NewSession(cipher_.get())) {}

  ~Tunnel() {
    CHECK(state_ == State::kClosed);
    SSL_free(session_);
  }

  void Start() {
    const Status watched = loop_.Watch(cipher_.get(), EPOLLIN, cipher_ready_);
    if (!watched.ok()) return Refuse(watched);
    cipher_events_ = EPOLLIN;
    cipher_watched_ = true;
    loop_.ArmTimerIn(handshake_timer_, kHandshakeNs);
    Run();
  }

  void Close() {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    loop_.CancelTimer(handshake_timer_);
    loop_.CancelDeferred(go_on_);
    if (cipher_watched_) loop_.Unwatch(cipher_.get(), cipher_ready_);
    if (plain_watched_) loop_.Unwatch(plain_.get(), plain_ready_);
    cipher_.Reset();
    plain_.Reset();
    if (!terminator_.bury_.deferred()) loop_.Defer(terminator_.bury_);
  }

  bool closed() const { return state_ == State::kClosed; }

 private:
  enum class State { kHandshake, kOpen, kClosing, kClosed };
  // How an attempt to move bytes ended.
  enum class Step { kMoved, kBlocked, kEnded };

  struct CipherReady final : FdHandler {
    explicit CipherReady(Tunnel& its) : tunnel(its) {}
    void OnReady(uint32_t events) override { tunnel.OnCipherReady(events); }
    Tunnel& tunnel;
  };
  struct PlainReady final : FdHandler {
    explicit PlainReady(Tunnel& its) : tunnel(its) {}
    void OnReady(uint32_t events) override { tunnel.OnPlainReady(events); }
    Tunnel& tunnel;
  };

  void OnCipherReady(uint32_t events) {
    Run();
    // Whatever could be read was. What is left cannot be answered any more.
    if ((events & (EPOLLERR | EPOLLHUP)) == 0 || closed()) return;
    if (state_ == State::kHandshake) {
      return Refuse(ErrorOfErrno(ECONNRESET, "it went away during the handshake"));
    }
    Close();
  }

  void OnPlainReady(uint32_t events) {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      // The server has closed its end: what it wrote is still to be read, nothing can be written.
      loop_.Unwatch(plain_.get(), plain_ready_);
      plain_watched_ = false;
      to_plain_.Clear();
    }
    Run();
  }

  void OnHandshakeLate() {
    Refuse(ErrorOfErrno(ETIMEDOUT, absl::StrFormat("the handshake took longer than %d s",
                                                   kHandshakeNs / kNsPerSecond)));
  }

  void Run() {
    if (state_ == State::kHandshake) Handshake();
    if (state_ == State::kOpen || state_ == State::kClosing) Shuttle();
    if (!closed()) Watch();
  }

  void Handshake() {
    ERR_clear_error();
    wants_write_ = false;
    const int result = SSL_accept(session_);
    if (result == 1) return Establish();
    switch (SSL_get_error(session_, result)) {
      case SSL_ERROR_WANT_READ:
        return;
      case SSL_ERROR_WANT_WRITE:
        wants_write_ = true;
        return;
      case SSL_ERROR_SYSCALL:
        return Refuse(ErrorOfErrno(ECONNRESET, "it went away during the handshake"));
      default:
        return Refuse(PermissionDenied("the TLS handshake failed: %s", TlsErrorText(session_)));
    }
  }

  void Establish() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
      return Refuse(ErrorOfErrno(errno, "no descriptors are left"));
    }
    plain_ = UniqueFd(ends[0]);
    UniqueFd for_server(ends[1]);
    const Status watched = loop_.Watch(plain_.get(), EPOLLIN, plain_ready_);
    if (!watched.ok()) return Refuse(watched);
    plain_watched_ = true;
    plain_events_ = EPOLLIN;
    loop_.CancelTimer(handshake_timer_);
    state_ = State::kOpen;
    terminator_.owner_.OnEstablished(std::move(for_server), peer_, SubjectOfPeer(session_));
  }

  void Refuse(const Status& why) {
    terminator_.owner_.OnRefused(peer_, why);
    Close();
  }

  // --- Bytes both ways, until neither side can go on.

  void Shuttle() {
    wants_write_ = false;
    for (int i = 0; i < kStepsPerTurnMax; ++i) {
      const Step in = MoveIn();
      if (in == Step::kEnded) return Close();
      const Step out = MoveOut();
      if (out == Step::kEnded) return Close();
      if (in == Step::kBlocked && out == Step::kBlocked) return;
    }
    if (!go_on_.deferred()) loop_.Defer(go_on_);
  }

  // From the client to the server.
  Step MoveIn() {
    if (state_ == State::kClosing) return Step::kBlocked;
    if (to_plain_.empty()) {
      ERR_clear_error();
      const int got =
          SSL_read(session_, to_plain_.room(), static_cast<int>(to_plain_.room_bytes()));
      if (got <= 0) return OutcomeOf(got);
      to_plain_.Fill(static_cast<size_t>(got));
    }
    const ssize_t sent = send(plain_.get(), to_plain_.data(), to_plain_.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return Step::kBlocked;
    // The server is gone; what it said last still goes out.
    if (sent < 0) {
      to_plain_.Clear();
      return Step::kBlocked;
    }
    to_plain_.Drop(static_cast<size_t>(sent));
    return Step::kMoved;
  }

  // From the server to the client.
  Step MoveOut() {
    if (to_cipher_.empty() && state_ == State::kOpen) {
      const ssize_t got = recv(plain_.get(), to_cipher_.room(), to_cipher_.room_bytes(), 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Step::kBlocked;
      if (got <= 0) {
        state_ = State::kClosing;
      } else {
        to_cipher_.Fill(static_cast<size_t>(got));
      }
    }
    ERR_clear_error();
    if (to_cipher_.empty()) {  // Closing: the client is told that this is all.
      SSL_shutdown(session_);
      return Step::kEnded;
    }
    const int sent = SSL_write(session_, to_cipher_.data(), static_cast<int>(to_cipher_.size()));
    if (sent <= 0) return OutcomeOf(sent);
    to_cipher_.Drop(static_cast<size_t>(sent));
    return Step::kMoved;
  }

  Step OutcomeOf(int result) {
    switch (SSL_get_error(session_, result)) {
      case SSL_ERROR_WANT_READ:
        return Step::kBlocked;
      case SSL_ERROR_WANT_WRITE:
        wants_write_ = true;
        return Step::kBlocked;
      default:
        return Step::kEnded;
    }
  }

  // Level-triggered: asks for what can be used now, and for nothing else.
  void Watch() {
    const bool reads = state_ == State::kHandshake || (state_ == State::kOpen && to_plain_.empty());
    const uint32_t cipher = (reads ? EPOLLIN : 0u) | (wants_write_ ? EPOLLOUT : 0u);
    if (cipher != cipher_events_) loop_.Rewatch(cipher_.get(), cipher, cipher_ready_);
    cipher_events_ = cipher;
    if (!plain_watched_) return;
    const uint32_t plain =
        (to_cipher_.empty() ? EPOLLIN : 0u) | (to_plain_.empty() ? 0u : EPOLLOUT);
    if (plain != plain_events_) loop_.Rewatch(plain_.get(), plain, plain_ready_);
    plain_events_ = plain;
  }

  TlsTerminator& terminator_;
  Loop& loop_;
  const std::string peer_;
  UniqueFd cipher_, plain_;
  SSL* const session_;
  State state_ = State::kHandshake;
  bool wants_write_ = false;  // Of the client's socket: TLS itself may, while it reads.
  bool cipher_watched_ = false, plain_watched_ = false;
  uint32_t cipher_events_ = 0, plain_events_ = 0;
  Transit to_plain_, to_cipher_;
  CipherReady cipher_ready_{*this};
  PlainReady plain_ready_{*this};
  TimerCall<Tunnel, &Tunnel::OnHandshakeLate> handshake_timer_{*this};
  DeferredCall<Tunnel, &Tunnel::Run> go_on_{*this};
};

TlsTerminator::TlsTerminator(Loop& loop, std::unique_ptr<TlsContext> context, Owner& owner)
    : loop_(loop), context_(std::move(context)), owner_(owner) {}

TlsTerminator::~TlsTerminator() {
  CloseAll();
  loop_.CancelDeferred(bury_);
  tunnels_.clear();
}

void TlsTerminator::Take(UniqueFd socket, std::string peer) {
  if (const Status fresh = context_->Refresh(); !fresh.ok()) owner_.OnRefused("", fresh);
  if (tunnels_.size() >= kConnectionsMax) {
    return owner_.OnRefused(peer, ErrorOfErrno(EMFILE, "there are as many as there may be"));
  }
  tunnels_.push_back(std::make_unique<Tunnel>(*this, std::move(socket), std::move(peer)));
  tunnels_.back()->Start();
}

void TlsTerminator::CloseAll() {
  for (const auto& tunnel : tunnels_) tunnel->Close();
}

void TlsTerminator::Bury() {
  std::erase_if(tunnels_, [](const auto& tunnel) { return tunnel->closed(); });
}

}  // namespace pollux
