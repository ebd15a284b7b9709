// Copies 4 KiB again and again: by memcpy, or through the accel layer with the CPU as its module.
//
//   pollux_accel_layer_bench memcpy|accel N
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/accel/accel.h"
#include "core/clock.h"

namespace pollux {
namespace {

constexpr size_t kBytes = 4096;

class Copy final : public AccelOperation {
 public:
  void OnComplete() override { abort(); }  // The CPU is done at once.
};

int Main(std::string_view how, uint64_t count) {
  const ManualClock clock;
  auto reactors = *Reactors::MakeStill({.cores = {0}}, clock);
  Accel accel(*reactors);
  AccelChannel& channel = accel.channel((*reactors)[0]);
  std::vector<std::byte> from(kBytes, std::byte{1}), to(kBytes);
  const iovec source{from.data(), kBytes}, destination{to.data(), kBytes};
  void* (*volatile copy)(void*, const void*, size_t) = &memcpy;
  for (uint64_t i = 0; i < count; ++i) {
    if (how == "memcpy") {
      copy(to.data(), from.data(), kBytes);
      continue;
    }
    Copy operation;
    operation.source = {&source, 1};
    operation.destination = {&destination, 1};
    if (!channel.Submit(operation) || operation.status != AccelStatus::kSuccess) return 1;
  }
  return to == from ? 0 : 1;
}

}  // namespace
}  // namespace pollux

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s memcpy|accel N\n", argv[0]);
    return 2;
  }
  return pollux::Main(argv[1], strtoull(argv[2], nullptr, 10));
}
