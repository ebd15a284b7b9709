// Reads or writes over NVMe/TCP with the driver as host, for
// tests/bench/nvme_tcp/host_instructions. The target is the one of the driver's tests, in the same
// thread: it works only between the calls of RunHost(), so that no poll is in vain and the count is
// the same each time.
//
//   pollux_nvme_tcp_host_bench read|write BYTES DEPTH N [digest]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory/memory.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme/nvme.h"
#include "tests/unit/drivers/nvme/tcp_peer.h"

namespace pollux::nvme {
namespace {

constexpr size_t kMemoryBytes = 64 << 20;

struct Bench {
  struct Slot final : Request {
    void OnComplete(Completion completion) override {
      CHECK(pollux_nvme_ok(completion));
      --bench->in_flight;
      bench->Submit(*this);
    }
    Bench* bench = nullptr;
    std::byte* data = nullptr;
  };

  void Submit(Slot& slot) {
    if (left == 0) return;
    --left;
    ++in_flight;
    const uint32_t blocks = bytes / TcpPeer::kBlockBytes;
    lba = (lba + blocks) % (TcpPeer::kDiskBytes / TcpPeer::kBlockBytes - blocks);
    const int error = writes ? pollux_nvme_write(queue, ns, slot.c(), slot.data, bytes, lba, blocks)
                             : pollux_nvme_read(queue, ns, slot.c(), slot.data, bytes, lba, blocks);
    CHECK(error == 0);
  }

  pollux_nvme_queue* queue = nullptr;
  const pollux_nvme_namespace* ns = nullptr;
  bool writes = false;
  uint32_t bytes = 0;
  uint64_t left = 0, in_flight = 0, lba = 0;
};

// What is counted.
[[gnu::noinline]] void RunHost(Bench& bench) { pollux_nvme_queue_poll(bench.queue, 0); }

void Run(bool writes, uint32_t bytes, uint16_t depth, uint64_t count, bool digest) {
  RegionRegistry registry;
  auto pages = SharedPages::Map("nvme-tcp-bench", kMemoryBytes, false, registry);
  CHECK(pages.ok());
  ManualClock clock;
  TcpPeer peer;
  NvmeHost::Parts parts;
  parts.registry = &registry;
  parts.memory = (*pages)->address();
  parts.memory_bytes = (*pages)->bytes();
  parts.clock = &clock;
  parts.idle = [&peer] { peer.Step(); };
  const auto host = std::make_unique<pollux_nvme_host>(std::move(parts));

  pollux_nvme_transport_id id{};
  const std::string text =
      "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:" + std::to_string(peer.port()) +
      " subnqn:nqn.2026-01.example:bench";
  CHECK(pollux_nvme_transport_id_parse(text.c_str(), &id) == 0);
  pollux_nvme_attach_options options{};
  options.io_queues = 1;
  options.io_queue_depth = static_cast<uint16_t>(depth + 1);
  options.header_digest = options.data_digest = digest;
  pollux_nvme_controller* controller = nullptr;
  CHECK(pollux_nvme_attach(host.get(), &id, &options, &controller) == 0, pollux_nvme_error_text());

  Bench bench;
  CHECK(pollux_nvme_queue_take(controller, -1, &bench.queue) == 0);
  bench.ns = pollux_nvme_namespace_find(controller, 1);
  bench.writes = writes;
  bench.bytes = bytes;
  bench.left = count;
  std::vector<Bench::Slot> slots(depth);
  for (Bench::Slot& slot : slots) {
    slot.bench = &bench;
    slot.data = static_cast<std::byte*>(pollux_nvme_alloc(host.get(), bytes, 4096));
    CHECK(slot.data != nullptr);
    bench.Submit(slot);
  }
  while (bench.in_flight > 0) {
    RunHost(bench);
    while (peer.Step()) {
    }
  }
  for (Bench::Slot& slot : slots) pollux_nvme_free(host.get(), slot.data);
  pollux_nvme_queue_return(bench.queue);
  pollux_nvme_detach(controller);
}

}  // namespace
}  // namespace pollux::nvme

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  pollux::nvme::Run(std::strcmp(argv[1], "write") == 0,
                    static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10)),
                    static_cast<uint16_t>(std::strtoul(argv[3], nullptr, 10)),
                    std::strtoull(argv[4], nullptr, 10), argc > 5);
  return 0;
}
