// pollux-nvme-model: an NVMe controller made of memory, at a vfio-user socket.
#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/unique_fd.h"
#include "tests/models/main/program.h"
#include "tests/models/nvme_model_served.h"

namespace pollux::models {
namespace {

constexpr OptionValues kValues("pollux-nvme-model");
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

ModelNamespace::Options ParseNamespace(std::string_view text) {
  const auto next = [&text] {
    const size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    text = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    return part;
  };
  ModelNamespace::Options options;
  const uint64_t bytes = kValues.Number("--namespace", next(), 1, uint64_t{1} << 24) << 20;
  if (!text.empty()) {
    options.block_bytes = static_cast<uint32_t>(kValues.Number("--namespace", next(), 512, 65536));
    if (!std::has_single_bit(options.block_bytes)) {
      kValues.Fail("--namespace", std::to_string(options.block_bytes).c_str(),
                   "is not a power of two");
    }
  }
  if (!text.empty()) {
    options.metadata_bytes = static_cast<uint16_t>(kValues.Number("--namespace", next(), 0, 256));
  }
  options.blocks = bytes / options.block_bytes;
  return options;
}

UniqueFd OpenFile(const char* path, uint64_t bytes) {
  UniqueFd file(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const bool ready = file.valid() && lseek(file.get(), 0, SEEK_END) >= 0 &&
                     (static_cast<uint64_t>(lseek(file.get(), 0, SEEK_END)) >= bytes ||
                      ftruncate(file.get(), static_cast<off_t>(bytes)) == 0);
  if (!ready) kValues.Fail("--file", path, std::strerror(errno));
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
    if (controller.namespaces.empty()) kValues.Fail(option, "", "follows no --namespace");
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
            static_cast<uint8_t>(kValues.Number("--protection", optarg, 1, 3));
        if (last("--protection").metadata_bytes < 8) {
          kValues.Fail("--protection", optarg, "needs 8 bytes of metadata");
        }
        break;
      case kExtended:
        last("--extended").extended = true;
        break;
      case kZoneBlocks: {
        const uint64_t blocks = kValues.Number("--zone-blocks", optarg, 1, uint64_t{1} << 32);
        last("--zone-blocks").zones = {.zone_blocks = blocks, .capacity_blocks = blocks};
        last("--zone-blocks").blocks -= last("--zone-blocks").blocks % blocks;
        if (last("--zone-blocks").blocks == 0)
          kValues.Fail("--zone-blocks", optarg, "is too large");
        break;
      }
      case kFile: {
        ModelNamespace::Options& ns = last("--file");
        arguments.files.push_back(OpenFile(optarg, ns.blocks * ns.block_bytes));
        ns.file = arguments.files.back().get();
        break;
      }
      case kCmb:
        controller.cmb_bytes = kValues.Number("--cmb", optarg, 1, 1024) << 20;
        if (!std::has_single_bit(controller.cmb_bytes))
          kValues.Fail("--cmb", optarg, "no power of two");
        break;
      case kQueues:
        controller.io_queues_granted =
            static_cast<uint16_t>(kValues.Number("--queues", optarg, 1, 64));
        break;
      case kLatency:
        controller.faults.latency_min = controller.faults.latency_max =
            kValues.Number("--latency-us", optarg, 0, 60'000'000) * kNsPerUs;
        break;
      case kErrorRate:
        controller.faults.error_rate = kValues.Rate("--error-rate", optarg);
        break;
      case kSeed:
        controller.faults.seed = kValues.Number("--seed", optarg, 0, UINT64_MAX);
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
  if (optind < argc) kValues.Fail("argument", argv[optind], "is not an option");
  if (arguments.socket.empty()) kValues.Fail("--socket", "", "is missing");
  if (controller.namespaces.empty()) controller.namespaces.push_back(ParseNamespace("64"));
  return arguments;
}

int Main(int argc, char** argv) {
  const Arguments arguments = Parse(argc, argv);
  return ServeUntilSignal("pollux-nvme-model", arguments.socket, [&arguments](Loop& loop) {
    return std::make_unique<NvmeModelServed>(arguments.device, loop);
  });
}

}  // namespace
}  // namespace pollux::models

int main(int argc, char** argv) { return pollux::models::Main(argc, argv); }
