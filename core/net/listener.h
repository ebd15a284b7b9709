#pragma once
#include <memory>
#include <string>

#include "core/loop.h"
#include "core/method_call.h"
#include "core/net/address.h"
#include "core/status.h"
#include "core/unique_fd.h"

namespace pollux {

// Accepts connections on one address, on one loop.
class Listener final : public FdHandler {
 public:
  class Owner {
   public:
    // The socket is non-blocking and close-on-exec; TCP sockets have TCP_NODELAY. The listener may
    // be paused from here, not destroyed.
    virtual void OnAccepted(UniqueFd socket) = 0;

   protected:
    ~Owner() = default;
  };
  static constexpr int kBacklog = 512;
  // How long it waits when the process has no descriptor left for a connection.
  static constexpr uint64_t kRetryNs = 100 * kNsPerMs;

  // EADDRNOTAVAIL and EADDRINUSE are told apart by the status: both may pass.
  static Result<std::unique_ptr<Listener>> Tcp(Loop& loop, const SocketAddress& address,
                                               Owner& owner);
  // Mode 0600. A stale socket of a process that is gone is replaced; who is alive is told by an
  // exclusive flock on PATH.lock (EADDRINUSE).
  static Result<std::unique_ptr<Listener>> Unix(Loop& loop, const std::string& path, Owner& owner);
  // The same up to Listen(): the path is ours, and who connects is refused.
  static Result<std::unique_ptr<Listener>> BoundUnix(Loop& loop, const std::string& path,
                                                     Owner& owner);
  Status Listen();
  bool listening() const { return watched_; }
  ~Listener();

  // With the port that the kernel chose where 0 was asked for.
  const SocketAddress& address() const { return address_; }
  // Of a Unix socket: whether every user can connect (mode 0666), or ours and root alone (0600).
  void OpenToOthers(bool open);
  // Stops and resumes taking connections; they wait in the backlog meanwhile.
  void Pause();
  void Resume();

 private:
  Listener(Loop& loop, Owner& owner) : loop_(loop), owner_(owner) {}
  void OnReady(uint32_t events) override;
  // Takes one connection. False when there is none, or none can be taken now.
  bool AcceptOne();
  void TakeAgain();
  std::string Where() const { return path_.empty() ? address_.ToString() : path_; }

  Loop& loop_;
  Owner& owner_;
  UniqueFd socket_;
  UniqueFd lock_;
  std::string path_;       // Of a Unix socket, or empty.
  SocketAddress address_;  // Of a TCP socket.
  TimerCall<Listener, &Listener::TakeAgain> retry_{*this};
  bool bound_ = false;  // The file at path_ is ours.
  bool watched_ = false;
  bool paused_ = false;
  bool out_of_descriptors_ = false;  // So that it is logged once.
};

}  // namespace pollux
