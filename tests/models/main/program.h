// What the programs that serve a device model have in common.
#pragma once
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "core/loop.h"
#include "core/task_group.h"
#include "core/unique_fd.h"
#include "targets/vfio_user/server.h"

namespace pollux::models {

// Values of the command line. One that does not fit ends the program, with a sentence.
class OptionValues {
 public:
  constexpr explicit OptionValues(const char* program) : program_(program) {}

  [[noreturn]] void Fail(const char* option, const char* value, const char* reason) const {
    std::fprintf(stderr, "%s: %s '%s': %s\n", program_, option, value, reason);
    std::exit(2);
  }
  uint64_t Number(const char* option, std::string_view text, uint64_t min, uint64_t max,
                  int base = 10) const {
    uint64_t value = 0;
    if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
    const char* const end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc() || stopped != end || value < min || value > max) {
      Fail(option, std::string(text).c_str(), "is not a number within bounds");
    }
    return value;
  }
  double Rate(const char* option, const char* text) const {
    char* end = nullptr;
    const double rate = std::strtod(text, &end);
    if (end == text || *end != '\0' || !(rate >= 0 && rate <= 1)) {
      Fail(option, text, "is not a rate from 0 to 1");
    }
    return rate;
  }

 private:
  const char* const program_;
};

// Serves a device until a signal ends it. `Served` is a ServedDevice with its model.
template <typename Served>
class ServingProgram final : private FdHandler {
 public:
  ServingProgram(const char* name, Served& device, Loop& loop, int signals)
      : name_(name), device_(device), loop_(loop), signals_(signals) {}

  int Run(const std::string& path) {
    Status status = loop_.Watch(signals_, EPOLLIN, *this);
    if (status.ok()) {
      status = Serve(path);
      loop_.Unwatch(signals_, *this);
    }
    if (!status.ok()) {
      std::fprintf(stderr, "%s: %s\n", name_, std::string(status.message()).c_str());
      return 1;
    }
    for (const std::string& complaint : device_.model().complaints()) {
      std::fprintf(stderr, "the host's fault: %s\n", complaint.c_str());
    }
    return 0;
  }

 private:
  Status Serve(const std::string& path) {
    vfio_user::Server::Options options;
    options.path = path;
    ASSIGN_OR_RETURN(server_, vfio_user::Server::Listen(std::move(options), device_, loop_));
    device_.set_server(server_.get());
    std::printf("ready: %s\n", path.c_str());
    std::fflush(stdout);
    loop_.Run();
    return OkStatus();
  }
  void OnReady(uint32_t /*events*/) override {
    signalfd_siginfo info;
    if (read(signals_, &info, sizeof info) != sizeof info || closing_) return;
    closing_ = true;
    tasks_.Spawn(Close());
  }
  Task<void> Close() {
    co_await server_->Close();
    loop_.Stop();
  }

  const char* const name_;
  Served& device_;
  Loop& loop_;
  const int signals_;
  std::unique_ptr<vfio_user::Server> server_;
  TaskGroup tasks_;
  bool closing_ = false;
};

// Returns the program's exit code. `make` makes the device: std::unique_ptr<Served>(Loop&).
template <typename Make>
int ServeUntilSignal(const char* name, const std::string& path, const Make& make) {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&handled, signal);
  sigprocmask(SIG_BLOCK, &handled, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const UniqueFd signals(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  Result<std::unique_ptr<Waiter>> waiter = MakeEpollWaiter();
  if (!signals.valid() || !waiter.ok()) {
    std::fprintf(stderr, "%s: no descriptors\n", name);
    return 1;
  }
  const RealClock clock;
  Loop::Options options{.name = name, .idle_after_ns = kNsPerMs, .core = -1};
  Loop loop(std::move(options), clock, *std::move(waiter));
  const auto device = make(loop);
  ServingProgram program(name, *device, loop, signals.get());
  return program.Run(path);
}

}  // namespace pollux::models
