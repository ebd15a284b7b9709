// pollux-ioat-model: an I/OAT device made of memory, at a vfio-user socket.
#include <getopt.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/models/ioat_model_served.h"
#include "tests/models/main/program.h"

namespace pollux::models {
namespace {

constexpr char kProgram[] = "pollux-ioat-model";
constexpr char kHelp[] =
    R"(usage: pollux-ioat-model --socket DIR [OPTION]...
Serves an I/OAT device made of memory at the vfio-user socket DIR/cntrl.

  --socket DIR        the directory of the socket
  --device ID         its PCI device id in hexadecimal (default 0b00, Ice Lake)
  --version V         3.0, 3.2, 3.3 or 3.4 (default 3.4)
  --channels N        1 to 4 (default 1)
  --xfercap N         a descriptor moves at most 2^N bytes, 12 to 30 (default 20)
  --without WHAT      a capability that it does not have: fill, xor or pq; may be given several
                      times
  --reset-steps N     how many turns a reset of a channel takes (default 1)
What goes wrong, counted from when a client comes:
  --fail-nth N        the Nth descriptor of each channel fails
  --fail-every N      every Nth does
  --chanerr BITS      with these bits of CHANERR, in hexadecimal (default 100, read data)
  --stall-after N     nothing is executed after N descriptors
  --lie-after N       after N descriptors it reports one that is not in the ring
  --help
)";

struct Arguments {
  IoatModel::Options device;
  IoatModelServed::Faults faults;
  std::string socket;
};

uint8_t ParseVersion(const OptionValues& values, std::string_view text) {
  for (const uint8_t version :
       {ioat::kVersion30, ioat::kVersion32, ioat::kVersion33, ioat::kVersion34}) {
    const char name[] = {'3', '.', static_cast<char>('0' + version % 16), '\0'};
    if (text == name) return version;
  }
  values.Fail("--version", std::string(text).c_str(), "is not 3.0, 3.2, 3.3 or 3.4");
}

uint32_t ParseCapability(const OptionValues& values, std::string_view text) {
  if (text == "fill") return ioat::capability::kFill;
  if (text == "xor") return ioat::capability::kXor;
  if (text == "pq") return ioat::capability::kPq;
  values.Fail("--without", std::string(text).c_str(), "is not fill, xor or pq");
}

Arguments Parse(int argc, char** argv) {
  enum { kSocket, kDevice, kVersion, kChannels, kXfercap, kWithout, kResetSteps, kFailNth };
  enum { kFailEvery = kFailNth + 1, kChanerr, kStallAfter, kLieAfter, kShowHelp };
  static constexpr option kOptions[] = {{"socket", required_argument, nullptr, kSocket},
                                        {"device", required_argument, nullptr, kDevice},
                                        {"version", required_argument, nullptr, kVersion},
                                        {"channels", required_argument, nullptr, kChannels},
                                        {"xfercap", required_argument, nullptr, kXfercap},
                                        {"without", required_argument, nullptr, kWithout},
                                        {"reset-steps", required_argument, nullptr, kResetSteps},
                                        {"fail-nth", required_argument, nullptr, kFailNth},
                                        {"fail-every", required_argument, nullptr, kFailEvery},
                                        {"chanerr", required_argument, nullptr, kChanerr},
                                        {"stall-after", required_argument, nullptr, kStallAfter},
                                        {"lie-after", required_argument, nullptr, kLieAfter},
                                        {"help", no_argument, nullptr, kShowHelp},
                                        {}};
  constexpr OptionValues values(kProgram);
  Arguments arguments;
  IoatModel::Options& device = arguments.device;
  IoatModelServed::Faults& faults = arguments.faults;
  const auto number = [&values](const char* option, uint64_t min, uint64_t max) {
    return values.Number(option, optarg, min, max);
  };
  for (int found; (found = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    switch (found) {
      case kSocket:
        arguments.socket = std::string(optarg) + "/cntrl";
        break;
      case kDevice:
        device.device = static_cast<uint16_t>(values.Number("--device", optarg, 1, 0xffff, 16));
        break;
      case kVersion:
        device.version = ParseVersion(values, optarg);
        break;
      case kChannels:
        device.channels = static_cast<uint8_t>(number("--channels", 1, ioat::kChannelsMax));
        break;
      case kXfercap:
        device.xfercap = static_cast<uint8_t>(number("--xfercap", 12, 30));
        break;
      case kWithout:
        device.capability &= ~ParseCapability(values, optarg);
        break;
      case kResetSteps:
        device.reset_steps = static_cast<uint32_t>(number("--reset-steps", 0, UINT32_MAX));
        break;
      case kFailNth:
        faults.fail_nth = static_cast<uint32_t>(number("--fail-nth", 1, UINT32_MAX));
        break;
      case kFailEvery:
        faults.fail_every = static_cast<uint32_t>(number("--fail-every", 1, UINT32_MAX));
        break;
      case kChanerr:
        faults.chanerr = static_cast<uint32_t>(
            values.Number("--chanerr", optarg, 1, (1u << ioat::chanerr::kBits) - 1, 16));
        break;
      case kStallAfter:
        faults.stall_after = number("--stall-after", 1, UINT64_MAX);
        break;
      case kLieAfter:
        faults.lie_after = number("--lie-after", 1, UINT64_MAX);
        break;
      case kShowHelp:
        exit(std::fputs(kHelp, stdout) < 0 ? 1 : 0);
      default:
        exit(2);  // getopt has said why.
    }
  }
  if (optind < argc) values.Fail("argument", argv[optind], "is not an option");
  if (arguments.socket.empty()) values.Fail("--socket", "", "is missing");
  return arguments;
}

int Main(int argc, char** argv) {
  const Arguments arguments = Parse(argc, argv);
  return ServeUntilSignal(kProgram, arguments.socket, [&arguments](Loop& loop) {
    auto device = std::make_unique<IoatModelServed>(arguments.device, loop);
    device->SetFaults(arguments.faults);
    return device;
  });
}

}  // namespace
}  // namespace pollux::models

int main(int argc, char** argv) { return pollux::models::Main(argc, argv); }
