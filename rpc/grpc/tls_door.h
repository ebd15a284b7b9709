#pragma once
#include <memory>

#include "core/clock.h"
#include "core/loop.h"
#include "core/net/address.h"
#include "core/net/listener.h"
#include "core/status.h"
#include "core/task.h"
#include "core/tls/tls_terminator.h"
#include "core/unique_fd.h"
#include "rpc/identity.h"

namespace pollux::rpc {

// A TCP address where callers prove who they are by a certificate. It has a thread of its own:
// strangers can cost it time, and nobody else. Made, used and destroyed on the control loop.
class TlsDoor final : Listener::Owner, TlsTerminator::Owner {
 public:
  // On the control loop.
  class Owner {
   public:
    // `plain` is a connected socket; what goes through it is TLS outside.
    virtual void OnArrived(UniqueFd plain, Identity caller) = 0;
    // `who` is empty when it is our own files that are no use any more.
    virtual void OnTurnedAway(const std::string& who, const Status& why) = 0;

   protected:
    ~Owner() = default;
  };

  // Listens at once. Port 0: the kernel chooses.
  static Result<std::unique_ptr<TlsDoor>> Open(Loop& control, const SocketAddress& address,
                                               const TlsFiles& files, Owner& owner);
  ~TlsDoor();  // Closes the connections.

  const SocketAddress& address() const { return address_; }
  // Takes no more connections; those that there are go on.
  Task<void> StopListening();

 private:
  TlsDoor(Loop& control, Owner& owner, std::unique_ptr<Waiter> waiter);
  // The door's own loop.
  void OnAccepted(UniqueFd socket) override;
  void OnEstablished(UniqueFd plain, std::string peer, std::string subject) override;
  void OnRefused(const std::string& peer, const Status& why) override;

  Loop& control_;
  // Null when the door is gone: messages may be under way. Control loop only.
  const std::shared_ptr<Owner*> owner_;
  const RealClock clock_;
  Loop loop_;
  std::unique_ptr<TlsTerminator> terminator_;
  std::unique_ptr<Listener> listener_;
  SocketAddress address_;
};

}  // namespace pollux::rpc
