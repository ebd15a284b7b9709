#include "core/net/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "core/check.h"
#include "core/log.h"

namespace pollux {
namespace {

constexpr int kAcceptsPerTurnMax = 16;

Status CannotListen(int error_number, const std::string& where) {
  return ErrorOfErrno(error_number,
                      absl::StrFormat("cannot listen on %s: %s", where, strerror(error_number)));
}

bool IsSameFile(int fd, const std::string& path) {
  struct stat by_fd, by_path;
  return fstat(fd, &by_fd) == 0 && stat(path.c_str(), &by_path) == 0 &&
         by_fd.st_dev == by_path.st_dev && by_fd.st_ino == by_path.st_ino;
}

// Takes the lock that says a process listens on `path`. The process that had it removes the file
// when it goes, so what was locked may not be what lies there now: then it is tried again.
Result<UniqueFd> LockSocket(const std::string& path) {
  const std::string lock_path = path + ".lock";
  constexpr int kTriesMax = 8;
  for (int i = 0; i < kTriesMax; ++i) {
    UniqueFd lock(open(lock_path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock.valid()) return CannotListen(errno, lock_path);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) break;
    if (IsSameFile(lock.get(), lock_path)) return lock;
  }
  return ErrorOfErrno(
      EADDRINUSE,
      absl::StrFormat("cannot listen on %s: another process does, it holds %s", path, lock_path));
}

// Removes a socket that nobody listens on any more: the caller holds the lock.
Status RemoveStaleSocket(const std::string& path) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? OkStatus() : CannotListen(errno, path);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return ErrorOfErrno(EADDRINUSE, absl::StrFormat("cannot listen on %s: it exists and is not a "
                                                    "socket",
                                                    path));
  }
  if (unlink(path.c_str()) != 0) return CannotListen(errno, path);
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::Tcp(Loop& loop, const SocketAddress& address,
                                                Owner& owner) {
  std::unique_ptr<Listener> self(new Listener(loop, owner));
  const std::string where = address.ToString();
  self->socket_ =
      UniqueFd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  const int fd = self->socket_.get();
  if (fd < 0) return CannotListen(errno, where);

  // A restarted process must not wait for the old one's connections to leave TIME_WAIT.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // So that 0.0.0.0 and :: can be listened on side by side.
  if (address.family() == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));

  if (bind(fd, address.address(), address.length()) != 0) return CannotListen(errno, where);
  ASSIGN_OR_RETURN(self->address_, SocketAddress::LocalOf(fd));
  RETURN_IF_ERROR(self->Listen());
  return self;
}

Result<std::unique_ptr<Listener>> Listener::Unix(Loop& loop, const std::string& path,
                                                 Owner& owner) {
  ASSIGN_OR_RETURN(std::unique_ptr<Listener> self, BoundUnix(loop, path, owner));
  RETURN_IF_ERROR(self->Listen());
  return self;
}

Result<std::unique_ptr<Listener>> Listener::BoundUnix(Loop& loop, const std::string& path,
                                                      Owner& owner) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidField("socket path", path, "must have between 1 and %d bytes",
                        sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());

  std::unique_ptr<Listener> self(new Listener(loop, owner));
  ASSIGN_OR_RETURN(self->lock_, LockSocket(path));
  self->path_ = path;
  RETURN_IF_ERROR(RemoveStaleSocket(path));

  self->socket_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int fd = self->socket_.get();
  if (fd < 0) return CannotListen(errno, path);
  // bind() gives the file the socket's own mode, so there is no moment at which it is wider.
  if (fchmod(fd, 0600) != 0 ||
      bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return CannotListen(errno, path);
  }
  self->bound_ = true;
  return self;
}

Status Listener::Listen() {
  if (listen(socket_.get(), kBacklog) != 0) return CannotListen(errno, Where());
  RETURN_IF_ERROR(loop_.Watch(socket_.get(), EPOLLIN, *this));
  watched_ = true;
  return OkStatus();
}

Listener::~Listener() {
  loop_.CancelTimer(retry_);
  if (watched_) loop_.Unwatch(socket_.get(), *this);
  if (!lock_.valid()) return;
  // Both go while the lock is held, or they could be a successor's.
  if (bound_) unlink(path_.c_str());
  unlink((path_ + ".lock").c_str());
}

void Listener::OpenToOthers(bool open) {
  CHECK(!path_.empty(), "a TCP socket has no mode");
  if (chmod(path_.c_str(), open ? 0666 : 0600) == 0) return;
  LogError("net", "the mode of %s cannot be changed: %s", path_, strerror(errno));
}

void Listener::Pause() {
  if (paused_) return;
  paused_ = true;
  loop_.CancelTimer(retry_);
  loop_.Rewatch(socket_.get(), 0, *this);
}

void Listener::Resume() {
  if (!paused_) return;
  paused_ = false;
  TakeAgain();
}

void Listener::TakeAgain() { loop_.Rewatch(socket_.get(), EPOLLIN, *this); }

void Listener::OnReady(uint32_t) {
  for (int i = 0; i < kAcceptsPerTurnMax && !paused_ && AcceptOne(); ++i) {
  }
}

bool Listener::AcceptOne() {
  UniqueFd accepted(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (accepted.valid()) {
    out_of_descriptors_ = false;
    if (path_.empty()) {
      const int on = 1;
      setsockopt(accepted.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    owner_.OnAccepted(std::move(accepted));
    return true;
  }
  switch (errno) {
    case EAGAIN:
      return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      // The connection stays in the backlog, and the socket ready: asking again at once would spin.
      if (!out_of_descriptors_) {
        LogError("net", "connections on %s wait: %s", Where(), strerror(errno));
        out_of_descriptors_ = true;
      }
      loop_.Rewatch(socket_.get(), 0, *this);
      loop_.ArmTimerIn(retry_, kRetryNs);
      return false;
    default:
      return true;  // This connection failed before it was taken (accept(2)); the next may not.
  }
}

}  // namespace pollux
