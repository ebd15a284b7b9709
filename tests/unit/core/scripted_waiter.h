#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "core/waiter.h"

namespace pollux {

// A place to block that never does: the test says what is ready, and what happens between "I will
// sleep" and the sleep.
class ScriptedWaiter final : public Waiter {
 public:
  Status Watch(int fd, uint32_t events, FdHandler& handler) override {
    watched.push_back({fd, events, &handler});
    return OkStatus();
  }
  void Rewatch(int fd, uint32_t events, FdHandler&) override {
    for (auto& w : watched) {
      if (w.fd == fd) w.events = events;
    }
  }
  void Unwatch(int fd) override {
    std::erase_if(watched, [fd](const Watched& w) { return w.fd == fd; });
  }
  size_t Wait(std::optional<uint64_t> timeout_ns, std::span<Ready> into) override {
    if (timeout_ns != 0u) {
      ++sleeps;
      last_timeout = timeout_ns;
      if (before_sleep) before_sleep();
      slept_over = !woken && ready.empty();
    }
    woken = false;
    size_t count = 0;
    for (const int fd : ready) {
      for (const auto& w : watched) {
        if (w.fd == fd && count < into.size()) into[count++] = {w.handler, w.events};
      }
    }
    ready.clear();
    return count;
  }
  void Wake() override { woken = true; }

  struct Watched {
    int fd;
    uint32_t events;
    FdHandler* handler;
  };
  std::vector<Watched> watched;
  std::vector<int> ready;  // What the next Wait finds.
  std::function<void()> before_sleep;
  int sleeps = 0;
  std::optional<uint64_t> last_timeout;
  bool woken = false;
  bool slept_over = false;  // The last sleep would not have ended by itself.
};

}  // namespace pollux
