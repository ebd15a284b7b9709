#pragma once
#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "core/loop.h"
#include "core/method_call.h"
#include "core/status.h"
#include "core/tls/tls_context.h"
#include "core/unique_fd.h"

namespace pollux {

// Ends TLS for a server that speaks over plain sockets: each connection becomes a socket pair, of
// which the server gets one end, and what comes in at one side goes out at the other, deciphered or
// enciphered. When either side closes, both do, after what is under way was delivered.
//
//   Take --> handshake --> Owner::OnEstablished --> bytes both ways --> closed
//                `--------> Owner::OnRefused
//
// One loop only: a thread apart, where the arithmetic of handshakes holds up nobody else.
class TlsTerminator {
 public:
  // More connections than this are closed at once, those in the handshake included.
  static constexpr size_t kConnectionsMax = 128;
  // A client that has not proved itself by then is let go.
  static constexpr uint64_t kHandshakeNs = 10 * kNsPerSecond;
  // What waits in each direction.
  static constexpr size_t kBufferBytes = 16 * 1024;

  // On the terminator's loop.
  class Owner {
   public:
    // `plain` is the server's end. The client is who `subject` says (SubjectOfPeer).
    virtual void OnEstablished(UniqueFd plain, std::string peer, std::string subject) = 0;
    virtual void OnRefused(const std::string& peer, const Status& why) = 0;

   protected:
    ~Owner() = default;
  };

  TlsTerminator(Loop& loop, std::unique_ptr<TlsContext> context, Owner& owner);
  ~TlsTerminator();

  // A connected, non-blocking socket of the client `peer`.
  void Take(UniqueFd socket, std::string peer);
  void CloseAll();
  size_t connections() const { return tunnels_.size(); }

 private:
  class Tunnel;
  // Lets go of the closed ones, when none of their methods is under way.
  void Bury();

  Loop& loop_;
  const std::unique_ptr<TlsContext> context_;
  Owner& owner_;
  std::list<std::unique_ptr<Tunnel>> tunnels_;
  DeferredCall<TlsTerminator, &TlsTerminator::Bury> bury_{*this};
};

}  // namespace pollux
