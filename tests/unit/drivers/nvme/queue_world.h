// A queue pair, the device behind it, and memory that both see: the words of the tests here.
#pragma once
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/mmio.h"
#include "core/spec/nvme_spec.h"
#include "drivers/nvme/injections.h"
#include "drivers/nvme/namespace.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/queue_pair.h"
#include "drivers/pci/dma_map.h"

namespace pollux::nvme {

constexpr size_t kPage = 4096;

// Memory of both sides. The device finds the page n of it at kIova + n pages, unless a test gives
// the pages other places.
class SharedMemory final : public pci::DmaMapper {
 public:
  static constexpr uint64_t kIova = 0x7000'0000;

  explicit SharedMemory(size_t pages, std::vector<uint64_t> page_iova = {})
      : memory_(std::make_unique<Page[]>(pages)), page_iova_(std::move(page_iova)) {
    EXPECT_TRUE(registry_.Add({.address = data(), .bytes = pages * kPage, .name = "shared"}).ok());
    map_ = *pci::DmaMap::Start(registry_, *this);
  }
  std::byte* data() { return memory_[0].bytes; }
  std::byte* page(size_t n) { return memory_[n].bytes; }
  pci::DmaMap& map() { return *map_; }
  RegionRegistry& registry() { return registry_; }
  uint64_t IovaOf(const void* address) {
    return kIova + static_cast<uint64_t>(static_cast<const std::byte*>(address) - data());
  }

  Result<Mapping> Map(const Region&) override {
    if (page_iova_.empty()) return Mapping{.page_bytes = 0, .page_iova = {kIova}};
    return Mapping{.page_bytes = kPage, .page_iova = page_iova_};
  }
  void Unmap(const Region&, const Mapping&) override {}

 private:
  struct alignas(kPage) Page {
    std::byte bytes[kPage];
  };
  std::unique_ptr<Page[]> memory_;
  std::vector<uint64_t> page_iova_;
  RegionRegistry registry_;
  std::unique_ptr<pci::DmaMap> map_;
};

// A queue pair as the device sees it: memory, and Step(). It does nothing by itself, so a test
// decides when, in which order and with what status each command completes.
class QueueDevice {
 public:
  QueueDevice(uint16_t id, uint16_t depth)
      : id_(id), sq_(depth), cq_(depth), lists_(size_t{depth}), shadows_(4) {}

  QueuePair::Parts Parts(pci::DmaMap& map) {
    QueuePair::Parts parts;
    parts.id = id_;
    parts.depth = static_cast<uint16_t>(sq_.size());
    parts.sq = sq_.data();
    parts.cq = cq_.data();
    parts.lists = lists_[0].bytes;
    parts.lists_iova = kListsIova;
    parts.sq_doorbell = bar_;
    parts.cq_doorbell = bar_ + 4;
    parts.dma = &map;
    return parts;
  }

  // Fetches what the driver has announced. Returns how many commands it then holds.
  size_t Step() { return StepTo(MmioRead<uint32_t>(bar_)); }
  size_t StepTo(uint32_t tail) {
    EXPECT_LT(tail, sq_.size());
    for (; head_ != tail; head_ = (head_ + 1) % sq_.size()) held_.push_back(sq_[head_]);
    return held_.size();
  }
  const SubmissionEntry& held(size_t n) const { return held_.at(n); }
  // Completes the n-th of the commands that it holds.
  void Complete(size_t n, uint16_t status = 0, uint32_t dw0 = 0, uint32_t dw1 = 0) {
    const SubmissionEntry entry = held_.at(n);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(n));
    Post(id_, entry.cid, status, dw0, dw1);
  }
  void CompleteAll() {
    while (!held_.empty()) Complete(0);
  }
  void Post(uint16_t sqid, uint16_t cid, uint16_t status = 0, uint32_t dw0 = 0, uint32_t dw1 = 0) {
    EXPECT_LT(unseen(), cq_.size() - 1) << "the completion queue overflows";
    CompletionEntry& entry = cq_[tail_];
    entry.dw0 = dw0;
    entry.dw1 = dw1;
    entry.sqhd = static_cast<uint16_t>(head_);
    entry.sqid = sqid;
    entry.cid = cid;
    StoreRelease(entry.status, static_cast<uint16_t>(status << 1 | (phase_ ? 1 : 0)));
    if (++tail_ == cq_.size()) tail_ = 0, phase_ = !phase_;
  }
  // Entries that the driver has not given back.
  size_t unseen() const { return (tail_ + cq_.size() - cq_doorbell()) % cq_.size(); }
  uint32_t sq_doorbell() const { return MmioRead<uint32_t>(bar_); }
  uint32_t cq_doorbell() const { return MmioRead<uint32_t>(bar_ + 4); }
  // As after the queue was deleted and created again.
  void Restart() {
    head_ = tail_ = 0;
    phase_ = true;
    held_.clear();
    std::memset(bar_, 0, sizeof(bar_));
  }

  std::vector<Le32>& shadows() { return shadows_; }
  std::vector<CompletionEntry>& cq() { return cq_; }
  const std::byte* list(size_t slot) const { return lists_[slot].bytes; }
  // What the driver put where the device was told to look.
  const std::byte* AtList(uint64_t iova) const { return lists_[0].bytes + (iova - kListsIova); }

  static constexpr uint64_t kListsIova = 0x5000'0000;

 private:
  struct alignas(kPage) Page {
    std::byte bytes[kPage];
  };
  uint16_t id_;
  std::vector<SubmissionEntry> sq_;
  std::vector<CompletionEntry> cq_;
  std::vector<Page> lists_;
  std::vector<Le32> shadows_;
  alignas(8) std::byte bar_[8] = {};
  std::deque<SubmissionEntry> held_;
  size_t head_ = 0, tail_ = 0;
  bool phase_ = true;
};

// One command, and how it ended. What is in flight when a test ends outlives it here, until the
// fixture has ended it as well.
class QueueRecorder {
 public:
  pollux_nvme_request* c() { return state_.c(); }

 private:
  struct State final : Request {
    void OnComplete(Completion completion) override {
      ++calls;
      last = completion;
      if (then) then();
    }
    int calls = 0;
    Completion last{};
    std::function<void()> then;
  };
  static std::deque<State>& States() {
    static std::deque<State> states;
    return states;
  }
  State& state_ = States().emplace_back();

 public:
  int& calls = state_.calls;
  Completion& last = state_.last;
  std::function<void()>& then = state_.then;

  // Ends what a queue has in flight. The recorders stay.
  static void EndAll(pollux_nvme_queue& queue) {
    for (State& state : States()) state.then = nullptr;
    queue.Kill(status::kHostPathingError);
    queue.Poll(0);
  }
  // The same as the last thing of a test: no recorder may be used after it.
  static void EndTest(pollux_nvme_queue& queue) {
    EndAll(queue);
    States().clear();
  }
};

// A namespace of 1000h blocks of 512 bytes, at most 256 a command.
inline Namespace::Facts PlainFacts() {
  Namespace::Facts facts;
  facts.info.nsid = 7;
  facts.info.blocks = 0x1000;
  facts.info.block_bytes = 512;
  facts.info.transfer_blocks_max = 256;
  return facts;
}

}  // namespace pollux::nvme
