#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "core/status.h"

namespace pollux {

// What a loop calls when a watched descriptor is ready. It must outlive the watch.
class FdHandler {
 public:
  // `events` is a set of EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP.
  virtual void OnReady(uint32_t events) = 0;

 protected:
  ~FdHandler() = default;
};

// Where a loop blocks: a set of descriptors, and a bell that any thread may ring. Real loops use
// epoll; a test injects what it likes between "I will sleep" and the sleep.
class Waiter {
 public:
  struct Ready {
    FdHandler* handler;
    uint32_t events;
  };

  virtual ~Waiter() = default;

  // Level-triggered. The loop's thread only, as all but Wake().
  virtual Status Watch(int fd, uint32_t events, FdHandler& handler) = 0;
  virtual void Rewatch(int fd, uint32_t events, FdHandler& handler) = 0;
  virtual void Unwatch(int fd) = 0;

  // Fills `ready` and returns how many. Returns at once when `timeout_ns` is 0, without limit when
  // it is absent, and whenever Wake() was called since the last Wait().
  virtual size_t Wait(std::optional<uint64_t> timeout_ns, std::span<Ready> ready) = 0;

  // Ends the current or the next Wait(). Any thread.
  virtual void Wake() = 0;
};

// epoll and an eventfd.
Result<std::unique_ptr<Waiter>> MakeEpollWaiter();

}  // namespace pollux
