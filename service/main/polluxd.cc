#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/loop.h"
#include "core/task_group.h"
#include "core/unique_fd.h"
#include "core/version.h"
#include "service/appliance.h"
#include "service/options.h"

namespace pollux::service {
namespace {

// Runs an appliance on the control loop, which is this thread, until a signal or a call ends it.
class Daemon final : public FdHandler {
 public:
  Daemon(DaemonOptions options, Loop& control, const Clock& clock, UniqueFd signals)
      : control_(control),
        signals_(std::move(signals)),
        appliance_(std::move(options), control, clock) {}

  int Run() {
    const Status watched = control_.Watch(signals_.get(), EPOLLIN, *this);
    CHECK(watched.ok());
    appliance_.set_on_stop_request([this](int signal) { OnSignal(signal); });
    begin_.daemon = this;
    control_.Post(begin_);
    control_.Run();
    control_.Unwatch(signals_.get(), *this);
    return exit_code_;
  }

 private:
  struct Begin final : Message {
    Daemon* daemon = nullptr;
    void Run() override { daemon->tasks_.Spawn(daemon->StartAppliance()); }
  };

  Task<void> StartAppliance() {
    const Status started = co_await appliance_.Start();
    starting_ = false;
    if (!started.ok()) {
      std::fprintf(stderr, "polluxd: %s\n", std::string(started.message()).c_str());
      exit_code_ = 1;
      stop_asked_ = true;
    }
    if (stop_asked_) BeginStop();
  }

  void OnReady(uint32_t) override {
    signalfd_siginfo info;
    if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
    OnSignal(static_cast<int>(info.ssi_signo));
  }

  void OnSignal(int signal) {
    if (signal == SIGHUP || signal == SIGUSR1) {
      LogNotice("service", "%s has no meaning here: nothing is done", strsignal(signal));
      return;
    }
    LogNotice("service", "%s: stopping", strsignal(signal));
    stop_asked_ = true;
    starting_ ? appliance_.GiveUpWaits() : BeginStop();
  }

  void BeginStop() {
    if (stop_begun_) return;
    stop_begun_ = true;
    tasks_.Spawn(StopAppliance());
  }

  Task<void> StopAppliance() {
    co_await appliance_.Stop();
    control_.Stop();
  }

  Loop& control_;
  UniqueFd signals_;
  Appliance appliance_;
  TaskGroup tasks_;
  Begin begin_;
  bool starting_ = true;
  bool stop_asked_ = false;
  bool stop_begun_ = false;
  int exit_code_ = 0;
};

int Main(const std::vector<std::string>& arguments) {
  Result<DaemonOptions> options = ParseDaemonOptions(arguments);
  if (!options.ok()) {
    std::fprintf(stderr, "polluxd: %s\n", std::string(options.status().message()).c_str());
    return 2;
  }
  if (options->show_help) return std::fputs(DaemonHelp().c_str(), stdout) < 0 ? 1 : 0;
  if (options->show_version) return std::printf("polluxd %s\n", kVersion) < 0 ? 1 : 0;
  SetLogLevel(options->log_level);

  // Blocked before any thread starts, so that all inherit it: signals arrive at the descriptor
  // alone.
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1}) sigaddset(&handled, signal);
  pthread_sigmask(SIG_BLOCK, &handled, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // A file that may not grow is an error of the write, EFBIG.
  UniqueFd signals(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  Result<std::unique_ptr<Waiter>> waiter = MakeEpollWaiter();
  if (!signals.valid() || !waiter.ok()) {
    std::fprintf(stderr, "polluxd: no descriptors for the control loop\n");
    return 1;
  }

  const RealClock clock;
  Loop::Options loop{.name = "app_thread", .idle_after_ns = 0, .core = -1};
  Loop control(std::move(loop), clock, *std::move(waiter));
  Daemon daemon(*std::move(options), control, clock, std::move(signals));
  return daemon.Run();
}

}  // namespace
}  // namespace pollux::service

int main(int argc, char** argv) {
  return pollux::service::Main(std::vector<std::string>(argv + 1, argv + argc));
}
