// N reads of one queue pair, 128 in flight, against a device made of memory in the same thread:
//
//   pollux_nvme_bench 512|4096 N
//
// To be run under callgrind by instructions_per_io, or by hand for time. The device answers in
// batches of 32, which is what a poll of a busy disk finds.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/check.h"
#include "core/memory/region_registry.h"
#include "core/mmio.h"
#include "drivers/nvme/namespace.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/queue_pair.h"

namespace pollux::nvme {
namespace {

constexpr uint16_t kRing = 256;
constexpr size_t kInFlight = 128;
constexpr size_t kBatch = 32;
constexpr uint64_t kBlocks = 1 << 20;

struct alignas(4096) Page {
  std::byte bytes[4096];
};

class OneToOne final : public pci::DmaMapper {
 public:
  Result<Mapping> Map(const Region& region) override {
    return Mapping{.page_bytes = 0, .page_iova = {reinterpret_cast<uintptr_t>(region.address)}};
  }
  void Unmap(const Region&, const Mapping&) override {}
};

// Completes commands as it fetches them.
class Device {
 public:
  SubmissionEntry sq[kRing];
  CompletionEntry cq[kRing];
  alignas(64) std::byte doorbells[8] = {};

  // Not part of what is counted: instructions_per_io knows its name.
  [[gnu::noinline]] void StepOfTheModel() {
    const uint32_t tail = MmioRead<uint32_t>(doorbells);
    for (size_t i = 0; i < kBatch && head_ != tail; ++i) {
      const SubmissionEntry& command = sq[head_];
      if (++head_ == kRing) head_ = 0;
      CompletionEntry& entry = cq[tail_];
      entry.dw0 = 0;
      entry.sqhd = static_cast<uint16_t>(head_);
      entry.sqid = 1;
      entry.cid = command.cid;
      StoreRelease(entry.status, phase_);
      if (++tail_ == kRing) tail_ = 0, phase_ ^= 1;
    }
  }

 private:
  uint32_t head_ = 0, tail_ = 0;
  uint16_t phase_ = 1;
};

struct Load {
  pollux_nvme_queue* queue = nullptr;
  const pollux_nvme_namespace* ns = nullptr;
  uint32_t bytes = 0;
  uint64_t left = 0;
  uint64_t ended = 0;
  uint64_t lba = 0;
};

class Read final : public Request {
 public:
  void Start(Load& load, void* buffer) {
    load_ = &load;
    buffer_ = buffer;
    Next();
  }
  void OnComplete(Completion completion) override {
    CHECK(pollux_nvme_ok(completion));
    ++load_->ended;
    if (load_->left > 0) Next();
  }

 private:
  void Next() {
    --load_->left;
    load_->lba = (load_->lba + 1237) % kBlocks;
    CHECK(pollux_nvme_read(load_->queue, load_->ns, c(), buffer_, load_->bytes, load_->lba, 1) ==
          0);
  }

  Load* load_ = nullptr;
  void* buffer_ = nullptr;
};

[[gnu::noinline]] void Run(Device& device, Load& load, uint64_t count, Page* buffers) {
  std::vector<Read> reads(kInFlight);
  load.left = count;
  for (size_t i = 0; i < kInFlight; ++i) reads[i].Start(load, buffers[i].bytes);
  while (load.ended < count) {
    pollux_nvme_queue_poll(load.queue, 0);
    device.StepOfTheModel();
  }
}

int Main(uint32_t bytes, uint64_t count) {
  RegionRegistry regions;
  OneToOne mapper;
  const auto map = *pci::DmaMap::Start(regions, mapper);
  const auto buffers = std::make_unique<Page[]>(kInFlight);
  CHECK(regions.Add({.address = buffers[0].bytes, .bytes = kInFlight * sizeof(Page)}).ok());
  const auto lists = std::make_unique<Page[]>(kRing);
  const auto device = std::make_unique<Device>();
  const auto queue = std::make_unique<pollux_nvme_queue>(
      QueuePair::Parts{.id = 1,
                       .depth = kRing,
                       .sq = device->sq,
                       .cq = device->cq,
                       .lists = lists[0].bytes,
                       .lists_iova = reinterpret_cast<uintptr_t>(lists[0].bytes),
                       .sq_doorbell = device->doorbells,
                       .cq_doorbell = device->doorbells + 4,
                       .dma = map.get()});
  queue->Reopen();
  Namespace::Facts facts;
  facts.info.nsid = 1;
  facts.info.blocks = kBlocks;
  facts.info.block_bytes = bytes;
  facts.info.transfer_blocks_max = 256;
  const auto ns = std::make_unique<pollux_nvme_namespace>(facts);

  Load load{.queue = queue.get(), .ns = ns.get(), .bytes = bytes};
  const auto begin = std::chrono::steady_clock::now();
  Run(*device, load, count, buffers.get());
  const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - begin;
  pollux_nvme_queue_statistics statistics;
  pollux_nvme_get_queue_statistics(queue.get(), &statistics);
  printf("%u bytes: %.1f ns and %.3f doorbells per I/O\n", bytes,
         time.count() / static_cast<double>(count),
         static_cast<double>(statistics.doorbells) / static_cast<double>(count));
  regions.Remove(buffers[0].bytes);
  return 0;
}

}  // namespace
}  // namespace pollux::nvme

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s 512|4096 N\n", argv[0]);
    return 2;
  }
  return pollux::nvme::Main(static_cast<uint32_t>(strtoul(argv[1], nullptr, 10)),
                            strtoull(argv[2], nullptr, 10));
}
