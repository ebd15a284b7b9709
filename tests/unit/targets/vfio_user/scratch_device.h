#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/unique_fd.h"
#include "targets/vfio_user/device.h"

namespace pollux::vfio_user {

// A PCI function that is memory and nothing else, and writes down what happens to it.
//
//   BAR 0  16 KiB: one page of registers by messages, one that can be mapped, two by messages again
//   BAR 2  4 KiB, read only
//   BAR 4  two pages that can be mapped, apart from each other
//   configuration space: 256 bytes, with a capability for MSI-X (or MSI, or none) at 0x40
class ScratchDevice final : public ServedDevice {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr uint64_t kBar4FileOffset = 16 * kPage;
  static constexpr uint32_t kMsixVectors = 4, kMsiVectors = 2;

  // `irq_index`: the best kind of interrupts that it has; and INTx.
  explicit ScratchDevice(int irq_index = kMsix) : irq_index_(irq_index) {
    file_ = UniqueFd(memfd_create("scratch", MFD_CLOEXEC));
    if (ftruncate(file_.get(), 32 * kPage) != 0) abort();
    memory_ = static_cast<std::byte*>(
        mmap(nullptr, 32 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
    PowerOn();
  }
  ~ScratchDevice() { munmap(memory_, 32 * kPage); }

  RegionInfo region(int index) const override {
    switch (index) {
      case 0:
        return {.bytes = 4 * kPage,
                .readable = true,
                .writable = true,
                .fd = file_.get(),
                .areas = {{kPage, kPage}}};
      case 2:
        return {.bytes = kPage, .readable = true};
      case 4:
        return {.bytes = 4 * kPage,
                .readable = true,
                .writable = true,
                .fd = file_.get(),
                .fd_offset = kBar4FileOffset,
                .areas = {{0, kPage}, {2 * kPage, kPage}}};
      case kConfigRegion:
        return {.bytes = sizeof(config_), .readable = true, .writable = true};
      default:
        return {};
    }
  }
  uint32_t irq_count(int irq_index) const override {
    switch (irq_index) {
      case kMsix:
        return irq_index_ == kMsix ? kMsixVectors : 0;
      case kMsi:
        return irq_index_ == kMsi ? kMsiVectors : 0;
      case kIntx:
      case kErr:
      case kReq:
        return 1;
      default:
        return 0;
    }
  }

  int ReadRegion(int index, uint64_t offset, std::span<std::byte> data) override {
    if (error != 0) return error;
    std::memcpy(data.data(), Place(index, offset), data.size());
    return 0;
  }
  int WriteRegion(int index, uint64_t offset, std::span<const std::byte> data) override {
    if (error != 0) return error;
    std::memcpy(Place(index, offset), data.data(), data.size());
    ++writes;
    return 0;
  }
  void Reset() override {
    PowerOn();
    log.push_back("reset");
  }
  void OnDmaMapped(const DmaRegion& region) override {
    log.push_back("map " + std::to_string(region.iova) + "+" + std::to_string(region.bytes));
  }
  Task<void> OnDmaUnmapping(DmaRegion region) override {
    log.push_back("unmap " + std::to_string(region.iova));
    while (hold_unmaps) co_await released;
    // What the device still has to write, it may write until here.
    if (region.address != nullptr && region.writable) region.address[0] = std::byte{0xdd};
    log.push_back("unmapped " + std::to_string(region.iova));
  }
  void OnClientConnected() override { log.push_back("connected"); }
  void OnClientGone() override { log.push_back("gone"); }

  std::byte* Place(int index, uint64_t offset) {
    if (index == kConfigRegion) return config_ + offset;
    if (index == 2) return read_only_ + offset;
    return memory_ + (index == 4 ? kBar4FileOffset : 0) + offset;
  }
  // Lets go of what hold_unmaps holds.
  void Release() {
    hold_unmaps = false;
    released.Pulse();
  }
  int fd() const { return file_.get(); }

  int error = 0;  // What accesses answer.
  int writes = 0;
  bool hold_unmaps = false;
  Event released;
  std::vector<std::string> log;

 private:
  void PowerOn() {
    std::memset(config_, 0, sizeof(config_));
    // Vendor and device; a list of capabilities; class 01 08 02.
    const unsigned char head[] = {0x34, 0x12, 0x78, 0x56, 0, 0, 0x10, 0, 0, 2, 8, 1};
    std::memcpy(config_, head, sizeof(head));
    if (irq_index_ == kIntx) return;
    config_[0x34] = std::byte{0x40};
    config_[0x40] = irq_index_ == kMsix ? std::byte{0x11} : std::byte{0x05};
    if (irq_index_ == kMsix) config_[0x42] = std::byte{kMsixVectors - 1};
  }

  const int irq_index_;
  UniqueFd file_;
  std::byte* memory_ = nullptr;
  std::byte read_only_[kPage] = {};
  std::byte config_[256] = {};
};

}  // namespace pollux::vfio_user
