#include "rpc/grpc/tls_door.h"

#include "core/run_on.h"

namespace pollux::rpc {
namespace {

constexpr char kProtocol[] = "h2";  // HTTP/2 over TLS, RFC 9113 §3.2.

// For the control loop; it frees itself there.
template <typename Work>
class Errand final : public Message {
 public:
  explicit Errand(Work work) : work_(std::move(work)) {}
  void Run() override {
    const std::unique_ptr<Errand> self(this);
    work_();
  }

 private:
  Work work_;
};

template <typename Work>
void Send(Loop& loop, Work work) {
  loop.Post(*new Errand<Work>(std::move(work)));
}

}  // namespace

TlsDoor::TlsDoor(Loop& control, Owner& owner, std::unique_ptr<Waiter> waiter)
    : control_(control),
      owner_(std::make_shared<Owner*>(&owner)),
      loop_({.name = "tls", .idle_after_ns = 0, .core = -1}, clock_, std::move(waiter)) {}

Result<std::unique_ptr<TlsDoor>> TlsDoor::Open(Loop& control, const SocketAddress& address,
                                               const TlsFiles& files, TlsDoor::Owner& owner) {
  ASSIGN_OR_RETURN(std::unique_ptr<TlsContext> context, TlsContext::Load(files, kProtocol));
  ASSIGN_OR_RETURN(std::unique_ptr<Waiter> waiter, MakeEpollWaiter());
  std::unique_ptr<TlsDoor> self(new TlsDoor(control, owner, std::move(waiter)));
  TlsTerminator::Owner& told = *self;
  self->terminator_ = std::make_unique<TlsTerminator>(self->loop_, std::move(context), told);
  ASSIGN_OR_RETURN(self->listener_, Listener::Tcp(self->loop_, address, *self));
  self->address_ = self->listener_->address();
  self->loop_.StartThread();
  return self;
}

TlsDoor::~TlsDoor() {
  *owner_ = nullptr;
  loop_.StopThread();
}

Task<void> TlsDoor::StopListening() {
  const auto stop = [this] { listener_.reset(); };
  co_await RunOn(loop_, stop);
}

// --- The door's own loop.

void TlsDoor::OnAccepted(UniqueFd socket) {
  const Result<SocketAddress> peer = SocketAddress::PeerOf(socket.get());
  if (!peer.ok()) return;  // It is gone already.
  terminator_->Take(std::move(socket), peer->ToString());
}

void TlsDoor::OnEstablished(UniqueFd plain, std::string peer, std::string subject) {
  Send(control_, [owner = owner_, socket = std::move(plain),
                  caller = IdentityOfCertificate(peer, std::move(subject))]() mutable {
    if (*owner != nullptr) (*owner)->OnArrived(std::move(socket), std::move(caller));
  });
}

void TlsDoor::OnRefused(const std::string& peer, const Status& why) {
  Send(control_, [owner = owner_, peer, why] {
    if (*owner != nullptr) (*owner)->OnTurnedAway(peer, why);
  });
}

}  // namespace pollux::rpc
