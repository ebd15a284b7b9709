// pollux-nvme-model: an NVMe controller made of memory, at a vfio-user socket.
#include <fcntl.h>
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <bit>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/loop.h"
#include "core/task_group.h"
#include "core/unique_fd.h"
#include "tests/models/nvme_model_served.h"

namespace pollux::models {
namespace {

constexpr char kHelp[] =
    R"(usage: pollux-nvme-model --socket DIR [OPTION]...
Serves an NVMe controller made of memory at the vfio-user socket DIR/cntrl.

  --socket DIR                        the directory of the socket
  --namespace MIB[:BLOCK[:METADATA]]  a namespace of so many MiB, with blocks of 512 or 4096 bytes
                                      (default 512) and bytes of metadata; may be given several
                                      times; default 64
  --protection TYPE                   of the namespace before it: 1, 2 or 3
  --extended                          of the namespace before it: metadata follows each block
  --zone-blocks N                     of the namespace before it: zoned, with zones of N blocks
  --file PATH                         of the namespace before it: its data lies in this file
  --cmb MIB                           a controller memory buffer, a power of two
  --queues N                          I/O queues that are granted (default 64)
  --latency-us N                      what an I/O command takes
  --error-rate R                      of I/O commands that fail, 0 to 1
  --seed N                            of the errors
  --idle                              doorbells by messages, so that the process sleeps when idle
  --help
)";

struct Arguments {
  NvmeModelServed::Options device;
  std::string socket;
  std::vector<UniqueFd> files;
};

[[noreturn]] void Fail(const char* option, const char* value, const char* reason) {
  std::fprintf(stderr, "pollux-nvme-model: %s '%s': %s\n", option, value, reason);
  exit(2);
}

uint64_t Number(const char* option, std::string_view text, uint64_t min, uint64_t max) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    Fail(option, std::string(text).c_str(), "is not a number within bounds");
  }
  return value;
}

double Rate(const char* option, const char* text) {
  char* end = nullptr;
  const double rate = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(rate >= 0 && rate <= 1)) {
    Fail(option, text, "is not a rate from 0 to 1");
  }
  return rate;
}

ModelNamespace::Options ParseNamespace(std::string_view text) {
  const auto next = [&text] {
    const size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    text = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    return part;
  };
  ModelNamespace::Options options;
  const uint64_t bytes = Number("--namespace", next(), 1, uint64_t{1} << 24) << 20;
  if (!text.empty()) {
    options.block_bytes = static_cast<uint32_t>(Number("--namespace", next(), 512, 65536));
    if (!std::has_single_bit(options.block_bytes)) {
      Fail("--namespace", std::to_string(options.block_bytes).c_str(), "is not a power of two");
    }
  }
  if (!text.empty()) {
    options.metadata_bytes = static_cast<uint16_t>(Number("--namespace", next(), 0, 256));
  }
  options.blocks = bytes / options.block_bytes;
  return options;
}

UniqueFd OpenFile(const char* path, uint64_t bytes) {
  UniqueFd file(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const bool ready = file.valid() && lseek(file.get(), 0, SEEK_END) >= 0 &&
                     (static_cast<uint64_t>(lseek(file.get(), 0, SEEK_END)) >= bytes ||
                      ftruncate(file.get(), static_cast<off_t>(bytes)) == 0);
  if (!ready) Fail("--file", path, std::strerror(errno));
  return file;
}

Arguments Parse(int argc, char** argv) {
  enum { kSocket, kNamespace, kProtection, kExtended, kZoneBlocks, kFile, kCmb, kQueues };
  enum { kLatency = kQueues + 1, kErrorRate, kSeed, kIdle, kShowHelp };
  static constexpr option kOptions[] = {{"socket", required_argument, nullptr, kSocket},
                                        {"namespace", required_argument, nullptr, kNamespace},
                                        {"protection", required_argument, nullptr, kProtection},
                                        {"extended", no_argument, nullptr, kExtended},
                                        {"zone-blocks", required_argument, nullptr, kZoneBlocks},
                                        {"file", required_argument, nullptr, kFile},
                                        {"cmb", required_argument, nullptr, kCmb},
                                        {"queues", required_argument, nullptr, kQueues},
                                        {"latency-us", required_argument, nullptr, kLatency},
                                        {"error-rate", required_argument, nullptr, kErrorRate},
                                        {"seed", required_argument, nullptr, kSeed},
                                        {"idle", no_argument, nullptr, kIdle},
                                        {"help", no_argument, nullptr, kShowHelp},
                                        {}};
  Arguments arguments;
  NvmeModel::Options& controller = arguments.device.controller;
  controller.namespaces.clear();
  const auto last = [&controller](const char* option) -> ModelNamespace::Options& {
    if (controller.namespaces.empty()) Fail(option, "", "follows no --namespace");
    return controller.namespaces.back();
  };
  for (int found; (found = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    switch (found) {
      case kSocket:
        arguments.socket = std::string(optarg) + "/cntrl";
        break;
      case kNamespace:
        controller.namespaces.push_back(ParseNamespace(optarg));
        break;
      case kProtection:
        last("--protection").protection =
            static_cast<uint8_t>(Number("--protection", optarg, 1, 3));
        if (last("--protection").metadata_bytes < 8) {
          Fail("--protection", optarg, "needs 8 bytes of metadata");
        }
        break;
      case kExtended:
        last("--extended").extended = true;
        break;
      case kZoneBlocks: {
        const uint64_t blocks = Number("--zone-blocks", optarg, 1, uint64_t{1} << 32);
        last("--zone-blocks").zones = {.zone_blocks = blocks, .capacity_blocks = blocks};
        last("--zone-blocks").blocks -= last("--zone-blocks").blocks % blocks;
        if (last("--zone-blocks").blocks == 0) Fail("--zone-blocks", optarg, "is too large");
        break;
      }
      case kFile: {
        ModelNamespace::Options& ns = last("--file");
        arguments.files.push_back(OpenFile(optarg, ns.blocks * ns.block_bytes));
        ns.file = arguments.files.back().get();
        break;
      }
      case kCmb:
        controller.cmb_bytes = Number("--cmb", optarg, 1, 1024) << 20;
        if (!std::has_single_bit(controller.cmb_bytes)) Fail("--cmb", optarg, "no power of two");
        break;
      case kQueues:
        controller.io_queues_granted = static_cast<uint16_t>(Number("--queues", optarg, 1, 64));
        break;
      case kLatency:
        controller.faults.latency_min = controller.faults.latency_max =
            Number("--latency-us", optarg, 0, 60'000'000) * kNsPerUs;
        break;
      case kErrorRate:
        controller.faults.error_rate = Rate("--error-rate", optarg);
        break;
      case kSeed:
        controller.faults.seed = Number("--seed", optarg, 0, UINT64_MAX);
        break;
      case kIdle:
        arguments.device.map_doorbells = false;
        controller.oacs &= static_cast<uint16_t>(~nvme::oacs::kDoorbellBufferConfig);
        break;
      case kShowHelp:
        exit(std::fputs(kHelp, stdout) < 0 ? 1 : 0);
      default:
        exit(2);  // getopt has said why.
    }
  }
  if (optind < argc) Fail("argument", argv[optind], "is not an option");
  if (arguments.socket.empty()) Fail("--socket", "", "is missing");
  if (controller.namespaces.empty()) controller.namespaces.push_back(ParseNamespace("64"));
  return arguments;
}

// Serves until a signal ends it.
class Program final : private FdHandler {
 public:
  Program(const NvmeModelServed::Options& options, Loop& loop, int signals)
      : loop_(loop), signals_(signals), device_(options, loop) {}

  int Run(const std::string& path) {
    vfio_user::Server::Options options;
    options.path = path;
    Result<std::unique_ptr<vfio_user::Server>> server =
        vfio_user::Server::Listen(std::move(options), device_, loop_);
    const Status watched = loop_.Watch(signals_, EPOLLIN, *this);
    if (!server.ok() || !watched.ok()) {
      const Status& error = server.ok() ? watched : server.status();
      std::fprintf(stderr, "pollux-nvme-model: %s\n", std::string(error.message()).c_str());
      return 1;
    }
    server_ = *std::move(server);
    device_.set_server(server_.get());
    std::printf("ready: %s\n", path.c_str());
    std::fflush(stdout);
    loop_.Run();
    loop_.Unwatch(signals_, *this);
    for (const std::string& complaint : device_.model().complaints()) {
      std::fprintf(stderr, "the host's fault: %s\n", complaint.c_str());
    }
    return 0;
  }

 private:
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

  Loop& loop_;
  const int signals_;
  NvmeModelServed device_;
  std::unique_ptr<vfio_user::Server> server_;
  TaskGroup tasks_;
  bool closing_ = false;
};

int Main(int argc, char** argv) {
  const Arguments arguments = Parse(argc, argv);
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&handled, signal);
  sigprocmask(SIG_BLOCK, &handled, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const UniqueFd signals(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  Result<std::unique_ptr<Waiter>> waiter = MakeEpollWaiter();
  if (!signals.valid() || !waiter.ok()) {
    std::fprintf(stderr, "pollux-nvme-model: no descriptors\n");
    return 1;
  }
  const RealClock clock;
  Loop::Options options{.name = "nvme_model", .idle_after_ns = kNsPerMs, .core = -1};
  Loop loop(std::move(options), clock, *std::move(waiter));
  Program program(arguments.device, loop, signals.get());
  return program.Run(arguments.socket);
}

}  // namespace
}  // namespace pollux::models

int main(int argc, char** argv) { return pollux::models::Main(argc, argv); }
