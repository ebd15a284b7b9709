#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "core/check.h"
#include "core/clock.h"
#include "core/unique_fd.h"
#include "core/waiter.h"

namespace pollux {
namespace {

class EpollWaiter final : public Waiter {
 public:
  EpollWaiter(UniqueFd epoll, UniqueFd bell) : epoll_(std::move(epoll)), bell_(std::move(bell)) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell_.get(), &event) == 0);
  }

  Status Watch(int fd, uint32_t events, FdHandler& handler) override {
    epoll_event event{.events = events, .data = {.ptr = &handler}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return ErrorOfErrno(errno, absl::StrFormat("cannot watch a descriptor: %s", strerror(errno)));
    }
    return OkStatus();
  }

  void Rewatch(int fd, uint32_t events, FdHandler& handler) override {
    epoll_event event{.events = events, .data = {.ptr = &handler}};
    CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0);
  }

  void Unwatch(int fd) override { CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0); }

  size_t Wait(std::optional<uint64_t> timeout_ns, std::span<Ready> ready) override {
    std::array<epoll_event, kEventsMax> events;
    const int capacity = static_cast<int>(std::min(events.size(), ready.size()));
    int count;
    if (timeout_ns == 0u) {
      count = epoll_wait(epoll_.get(), events.data(), capacity, 0);
    } else {
      timespec timeout{};
      if (timeout_ns.has_value()) {
        timeout.tv_sec = static_cast<time_t>(*timeout_ns / kNsPerSecond);
        timeout.tv_nsec = static_cast<long>(*timeout_ns % kNsPerSecond);
      }
      count = epoll_pwait2(epoll_.get(), events.data(), capacity,
                           timeout_ns.has_value() ? &timeout : nullptr, nullptr);
    }
    size_t found = 0;
    for (int i = 0; i < count; ++i) {  // A signal gives -1: nothing is ready then.
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.ptr == nullptr) {
        uint64_t rings;
        [[maybe_unused]] const ssize_t n = read(bell_.get(), &rings, sizeof(rings));
        continue;
      }
      ready[found++] = {static_cast<FdHandler*>(event.data.ptr), event.events};
    }
    return found;
  }

  void Wake() override {
    const uint64_t one = 1;
    // It can only fail when the counter is full, and then the bell rings already.
    [[maybe_unused]] const ssize_t n = write(bell_.get(), &one, sizeof(one));
  }

 private:
  static constexpr size_t kEventsMax = 64;
  UniqueFd epoll_;
  UniqueFd bell_;
};

}  // namespace

Result<std::unique_ptr<Waiter>> MakeEpollWaiter() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  UniqueFd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.valid() || !bell.valid()) {
    return ErrorOfErrno(errno, absl::StrFormat("no descriptor for a loop: %s", strerror(errno)));
  }
  return std::make_unique<EpollWaiter>(std::move(epoll), std::move(bell));
}

}  // namespace pollux
