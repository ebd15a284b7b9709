#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <memory>

#include "tests/models/ioat_model_device.h"

namespace pollux::models {

// A host in its plainest form: a ring of 16 descriptors in page 0, the status in page 1, data from
// page 2 on.
class IoatWorld : public testing::Test {
 protected:
  static constexpr size_t kPages = 64;
  static constexpr size_t kPage = 4096;
  static constexpr uint32_t kAnnounced = ioat::control::kCompletionUpdate;

  IoatWorld() : arena_(static_cast<std::byte*>(aligned_alloc(kPage, kPages * kPage))) {
    std::memset(arena_, 0, kPages * kPage);
    EXPECT_TRUE(registry_.Add({.address = arena_, .bytes = kPages * kPage, .name = "arena"}).ok());
  }
  ~IoatWorld() override {
    device_.reset();
    free(arena_);
  }

  void Power() {
    device_ = std::make_unique<IoatModelDevice>(options_, registry_);
    device_->SetBusMaster(true);
    for (size_t i = 0; i < 16; ++i) ring(i).next = Iova(&ring((i + 1) % 16));
  }
  IoatModel& model() { return device_->model(); }
  ioat::Descriptor& ring(size_t i) { return reinterpret_cast<ioat::Descriptor*>(arena_)[i]; }
  std::byte* Page(size_t i) { return arena_ + i * kPage; }
  uint64_t Iova(const void* address) {
    pci::DmaView view(device_->dma());
    return view.Translate(address).iova;
  }
  uint64_t written() {
    uint64_t value = 0;
    std::memcpy(&value, Page(1), sizeof value);
    return value;
  }

  template <typename T>
  T Read(Reg<T> reg, unsigned channel = 0) {
    const uint64_t at = ioat::ChannelOffset(channel) + reg.offset;
    if constexpr (sizeof(T) == 1) return device_->Read8(0, at);
    if constexpr (sizeof(T) == 2) return device_->Read16(0, at);
    if constexpr (sizeof(T) == 4) return device_->Read32(0, at);
    if constexpr (sizeof(T) == 8) return device_->Read64(0, at);
  }
  template <typename T>
  void Write(Reg<T> reg, T value, unsigned channel = 0) {
    const uint64_t at = ioat::ChannelOffset(channel) + reg.offset;
    if constexpr (sizeof(T) == 1) device_->Write8(0, at, value);
    if constexpr (sizeof(T) == 2) device_->Write16(0, at, value);
    if constexpr (sizeof(T) == 4) device_->Write32(0, at, value);
    if constexpr (sizeof(T) == 8) device_->Write64(0, at, value);
  }
  // As all drivers do before the first descriptor.
  void Arm(uint16_t chanctrl = ioat::chanctrl::kAnyErrorAbort | ioat::chanctrl::kErrorCompletion) {
    Write<uint16_t>(ioat::kChanctrl, chanctrl);
    Write<uint64_t>(ioat::kChancmp, Iova(Page(1)));
    Write<uint64_t>(ioat::kChainaddr, Iova(&ring(0)));
  }
  void ResetChannel() {
    Write<uint8_t>(ioat::kChancmd, ioat::chancmd::kReset);
    model().Run();
  }
  void Put(size_t i, uint32_t op, uint32_t bytes, uint64_t source, uint64_t destination,
           uint32_t bits = kAnnounced) {
    ring(i).size = bytes;
    ring(i).control = ioat::control::kOpcode.Set(bits, op);
    ring(i).source = source;
    ring(i).destination = destination;
  }
  void PutNull(size_t i, uint32_t bytes = 8) {
    Put(i, ioat::opcode::kCopy, bytes, 0, 0, ioat::control::kNull | kAnnounced);
  }
  void PutCopy(size_t i, uint32_t bytes, size_t from_page, size_t to_page) {
    Put(i, ioat::opcode::kCopy, bytes, Iova(Page(from_page)), Iova(Page(to_page)));
  }

  IoatModelDevice::Options options_;
  RegionRegistry registry_;
  std::byte* const arena_;
  std::unique_ptr<IoatModelDevice> device_;
};

}  // namespace pollux::models
