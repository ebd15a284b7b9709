#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/models/nvme_model_device.h"

namespace pollux::models {

// The host in its plainest form: rings and buffers in one registered arena, commands as the test
// writes them.
class RawHost : public testing::Test {
 protected:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kArenaPages = 256;
  static constexpr uint16_t kEntries = 16;

  using Sqe = nvme::SubmissionEntry;
  using Cqe = nvme::CompletionEntry;

  RawHost() : arena_(static_cast<std::byte*>(aligned_alloc(kPage, kArenaPages * kPage))) {
    std::memset(arena_, 0, kArenaPages * kPage);
    EXPECT_TRUE(
        registry_.Add({.address = arena_, .bytes = kArenaPages * kPage, .name = "arena"}).ok());
  }
  ~RawHost() override {
    device_.reset();
    free(arena_);
  }

  // --- Memory.

  std::byte* Pages(size_t count) {
    std::byte* pages = arena_ + next_page_ * kPage;
    next_page_ += count;
    EXPECT_LE(next_page_, kArenaPages);
    return pages;
  }
  uint64_t Iova(const void* address) {
    pci::DmaView view(device_->dma());
    return view.Translate(address).iova;
  }

  // --- Registers.

  uint32_t Csts() { return device_->Read32(0, nvme::kCsts.offset); }
  void WriteCc(uint32_t value) { device_->Write32(0, nvme::kCc.offset, value); }
  uint32_t EnabledCc() {
    uint32_t cc = 0;
    cc = nvme::cc::kEn.Set(cc, 1);
    cc = nvme::cc::kCss.Set(cc, options_.controller.io_command_sets ? 6 : 0);
    cc = nvme::cc::kIosqes.Set(cc, 6);
    return nvme::cc::kIocqes.Set(cc, 4);
  }

  void Make() {
    device_ = std::make_unique<NvmeModelDevice>(options_, registry_);
    device_->SetBusMaster(true);
  }
  // Up to an enabled controller with an admin queue.
  void Enable() {
    if (device_ == nullptr) Make();
    queues_[0] = Ring{.sq = Pages(1), .cq = Pages(1)};
    device_->Write32(0, nvme::kAqa.offset, (kEntries - 1) << 16 | (kEntries - 1));
    device_->Write64(0, nvme::kAsq.offset, Iova(queues_[0].sq));
    device_->Write64(0, nvme::kAcq.offset, Iova(queues_[0].cq));
    WriteCc(EnabledCc());
  }
  // And an I/O queue pair, number 1.
  void Start() {
    Enable();
    Sqe features{.opc = nvme::admin::kSetFeatures};
    features.cdw10 = nvme::feature::kNumberOfQueues;
    ASSERT_EQ(Status(Admin(features)), 0);
    ASSERT_EQ(CreateQueue(1), 0);
  }
  uint16_t CreateQueue(uint16_t qid, uint16_t vector = 0) {
    queues_[qid] = Ring{.sq = Pages(1), .cq = Pages(1)};
    Sqe cq{.opc = nvme::admin::kCreateCq};
    cq.prp1 = Iova(queues_[qid].cq);
    cq.cdw10 = qid | (kEntries - 1u) << 16;
    cq.cdw11 = 3u | uint32_t{vector} << 16;
    if (uint16_t code = Status(Admin(cq)); code != 0) return code;
    Sqe sq{.opc = nvme::admin::kCreateSq};
    sq.prp1 = Iova(queues_[qid].sq);
    sq.cdw10 = qid | (kEntries - 1u) << 16;
    sq.cdw11 = 1u | uint32_t{qid} << 16;
    return Status(Admin(sq));
  }

  // --- Commands.

  // Puts it into the ring; Ring() announces it. Returns its identifier.
  uint16_t Put(uint16_t qid, Sqe sqe) {
    Ring& ring = queues_[qid];
    sqe.cid = next_cid_++;
    std::memcpy(ring.sq + ring.tail * sizeof sqe, &sqe, sizeof sqe);
    ring.tail = (ring.tail + 1) % kEntries;
    return sqe.cid;
  }
  void RingDoorbell(uint16_t qid) {
    device_->Write32(0, nvme::kDoorbells + qid * 8u, queues_[qid].tail);
  }
  uint16_t Send(uint16_t qid, const Sqe& sqe) {
    const uint16_t cid = Put(qid, sqe);
    RingDoorbell(qid);
    return cid;
  }
  // The next completion, if there is one.
  std::optional<Cqe> Receive(uint16_t qid) {
    Ring& ring = queues_[qid];
    Cqe entry;
    std::memcpy(&entry, ring.cq + ring.head * sizeof entry, sizeof entry);
    if ((entry.status & 1) != ring.phase) return std::nullopt;
    if (++ring.head == kEntries) {
      ring.head = 0;
      ring.phase ^= 1;
    }
    device_->Write32(0, nvme::kDoorbells + qid * 8u + 4, ring.head);
    return entry;
  }
  Cqe Run(uint16_t qid, const Sqe& sqe) {
    Send(qid, sqe);
    model().Step();
    const std::optional<Cqe> entry = Receive(qid);
    EXPECT_TRUE(entry.has_value()) << "opcode " << int{sqe.opc} << " is not answered";
    return entry.value_or(Cqe{});
  }
  Cqe Admin(const Sqe& sqe) { return Run(0, sqe); }
  Cqe Io(const Sqe& sqe) { return Run(1, sqe); }
  // SCT << 8 | SC.
  static uint16_t Status(const Cqe& entry) { return entry.status >> 1 & 0x7ff; }

  Sqe IoOn(uint8_t opc, uint64_t lba, uint32_t blocks, const std::byte* data, uint32_t nsid = 1) {
    Sqe sqe{.opc = opc, .nsid = nsid};
    sqe.prp1 = Iova(data);
    sqe.prp2 = Iova(data + kPage);
    sqe.cdw10 = static_cast<uint32_t>(lba);
    sqe.cdw11 = static_cast<uint32_t>(lba >> 32);
    sqe.cdw12 = blocks - 1;
    return sqe;
  }
  Sqe AdminOn(uint8_t opc, const std::byte* data, uint32_t cdw10 = 0, uint32_t nsid = 0) {
    Sqe sqe{.opc = opc, .nsid = nsid};
    sqe.prp1 = Iova(data);
    sqe.cdw10 = cdw10;
    return sqe;
  }

  template <typename T>
  static T As(const std::byte* at) {
    T value;
    std::memcpy(static_cast<void*>(&value), at, sizeof value);
    return value;
  }

  NvmeModel& model() { return device_->model(); }

  struct Ring {
    std::byte* sq = nullptr;
    std::byte* cq = nullptr;
    uint32_t tail = 0, head = 0;
    int phase = 1;
  };
  NvmeModelDevice::Options options_;
  RegionRegistry registry_;
  std::byte* const arena_;
  size_t next_page_ = 0;
  uint16_t next_cid_ = 100;
  std::unique_ptr<NvmeModelDevice> device_;
  Ring queues_[4];
};

}  // namespace pollux::models
