// N copies of 4 KiB by one channel, 128 in flight, against the device model in the same thread:
//
//   pollux_ioat_bench N
//
// To be run under callgrind by instructions_per_copy. The device answers in batches of 32.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/check.h"
#include "drivers/ioat/host.h"
#include "tests/models/ioat_model_device.h"

namespace pollux::ioat {
namespace {

constexpr size_t kInFlight = 128, kBatch = 32, kBytes = 4096;

struct Load {
  pollux_ioat_channel* channel = nullptr;
  uint64_t left = 0, ended = 0;
};

class Copy final : public Request {
 public:
  void Start(Load& load, std::byte* from, std::byte* to) {
    load_ = &load;
    from_ = from;
    to_ = to;
    Next();
  }
  void OnComplete(Completion completion) override {
    CHECK(completion.status == POLLUX_IOAT_OK);
    ++load_->ended;
    if (load_->left > 0) Next();
  }

 private:
  void Next() {
    --load_->left;
    CHECK(pollux_ioat_copy(load_->channel, c(), to_, from_, kBytes) == 0);
  }
  Load* load_ = nullptr;
  std::byte *from_ = nullptr, *to_ = nullptr;
};

// Not part of what is counted: instructions_per_copy knows its name.
[[gnu::noinline]] void StepOfTheModel(models::IoatModel& model, size_t steps) {
  for (size_t i = 0; i < steps; ++i) model.Step();
}

int Main(uint64_t count) {
  models::IoatModelDevice* device = nullptr;
  RegionRegistry registry;
  IoatHost::Parts parts;
  parts.registry = &registry;
  parts.idle = [&device] { StepOfTheModel(device->model(), 1); };
  pollux_ioat_host host(std::move(parts));
  auto made =
      std::make_unique<models::IoatModelDevice>(models::IoatModelDevice::Options{}, registry);
  device = made.get();
  pollux_ioat_device* const attached = *host.AttachDevice(std::move(made), "model", {});
  Load load;
  load.left = count;
  CHECK(pollux_ioat_channel_take(attached, 0, &load.channel) == 0);
  auto* data = static_cast<std::byte*>(pollux_ioat_alloc(&host, 2 * kInFlight * kBytes));
  CHECK(data != nullptr);
  std::vector<Copy> copies(kInFlight);
  for (size_t i = 0; i < kInFlight; ++i) {
    copies[i].Start(load, data + i * kBytes, data + (kInFlight + i) * kBytes);
  }
  while (load.ended < count) {
    pollux_ioat_channel_poll(load.channel);
    StepOfTheModel(device->model(), kBatch);
  }
  pollux_ioat_statistics statistics;
  pollux_ioat_get_statistics(load.channel, &statistics);
  std::printf("%.3f doorbells per copy\n",
              static_cast<double>(statistics.doorbells) / static_cast<double>(count));
  pollux_ioat_channel_return(load.channel);
  CHECK(pollux_ioat_detach(attached) == 0);
  return 0;
}

}  // namespace
}  // namespace pollux::ioat

int main(int argc, char** argv) {
  if (argc != 2 || std::strtoull(argv[1], nullptr, 10) < 128) {
    std::fprintf(stderr, "usage: %s N, 128 at least\n", argv[0]);
    return 2;
  }
  return pollux::ioat::Main(std::strtoull(argv[1], nullptr, 10));
}
