#pragma once
#include <memory>
#include <string>

#include "core/loop.h"
#include "core/net/address.h"
#include "core/status.h"
#include "core/unique_fd.h"

namespace pollux {

// Accepts connections on one address, on one loop.
class Listener final : public FdHandler {
 public:
  class Owner {
   public:
    // The socket is non-blocking and close-on-exec; TCP sockets have TCP_NODELAY.
    virtual void OnAccepted(UniqueFd socket) = 0;

   protected:
    ~Owner() = default;
  };
  static constexpr int kBacklog = 512;

  // EADDRNOTAVAIL and EADDRINUSE are told apart by the status: both may pass.
  static Result<std::unique_ptr<Listener>> Tcp(Loop& loop, const SocketAddress& address,
                                               Owner& owner);
  // Mode 0600. A stale socket of a process that is gone is replaced; who is alive is told by an
  // exclusive flock on PATH.lock (EADDRINUSE).
  static Result<std::unique_ptr<Listener>> Unix(Loop& loop, const std::string& path, Owner& owner);
  ~Listener();

  // With the port that the kernel chose where 0 was asked for.
  const SocketAddress& address() const { return address_; }
  // Stops and resumes taking connections; they wait in the backlog meanwhile.
  void Pause();
  void Resume();

 private:
  Listener(Loop& loop, Owner& owner, UniqueFd socket)
      : loop_(loop), owner_(owner), socket_(std::move(socket)) {}
  void OnReady(uint32_t events) override;

  Loop& loop_;
  Owner& owner_;
  UniqueFd socket_;
  UniqueFd lock_;
  std::string path_;
  SocketAddress address_;
  bool paused_ = false;
};

}  // namespace pollux
