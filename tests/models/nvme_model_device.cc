#include "tests/models/nvme_model_device.h"

#include <sys/eventfd.h>

#include <bit>
#include <cstring>

namespace pollux::models {
namespace {

constexpr uint64_t kAllOnes = ~uint64_t{0};

}  // namespace

NvmeModelDevice::NvmeModelDevice(const Options& options, RegionRegistry& registry)
    : options_(options),
      mapper_(options.dma_page_bytes),
      dma_(mapper_.Start(registry)),
      model_(options.controller, mapper_),
      config_({.vendor = options.vendor,
               .device = options.device,
               .bar0_bytes = model_.bar_bytes(),
               .bar2_bytes = std::bit_ceil(options.controller.cmb_bytes),
               .vectors = options.controller.interrupt_vectors}),
      eventfds_(options.controller.interrupt_vectors, -1) {
  model_.set_bus_master(false);
  model_.on_interrupt = [this](uint16_t vector) {
    if (vector < eventfds_.size() && eventfds_[vector] >= 0) eventfd_write(eventfds_[vector], 1);
  };
}

NvmeModelDevice::~NvmeModelDevice() = default;

uint32_t NvmeModelDevice::ReadConfig(uint32_t offset, size_t bytes) {
  uint32_t value = 0;
  if (model_.gone()) return static_cast<uint32_t>(kAllOnes >> (64 - 8 * bytes));
  config_.Read(offset, std::as_writable_bytes(std::span(&value, 1)).first(bytes));
  return value;
}

void NvmeModelDevice::WriteConfig(uint32_t offset, size_t bytes, uint32_t value) {
  if (model_.gone()) return;
  if (config_.Write(offset, std::as_bytes(std::span(&value, 1)).first(bytes))) model_.PowerOn();
  model_.set_bus_master(config_.bus_master());
}

uint64_t NvmeModelDevice::bar_bytes(int bar) const {
  if (bar == 0) return model_.bar_bytes();
  if (bar == 2 && model_.cmb() != nullptr) return model_.cmb()->bytes();
  return bar == PciConfig::kMsixBar ? PciConfig::kMsixBarBytes : 0;
}

uint64_t NvmeModelDevice::Read(int bar, uint64_t offset, size_t bytes) {
  const uint64_t ones = kAllOnes >> (64 - 8 * bytes);
  if (bar == 0) return model_.ReadRegister(offset, bytes);
  if (model_.gone() || bar != 2 || offset + bytes > bar_bytes(bar)) return ones;
  uint64_t value = 0;
  std::memcpy(&value, model_.cmb()->address() + offset, bytes);
  return value;
}

void NvmeModelDevice::Write(int bar, uint64_t offset, size_t bytes, uint64_t value) {
  if (bar == 0) return model_.WriteRegister(offset, bytes, value);
  if (model_.gone() || bar != 2 || offset + bytes > bar_bytes(bar)) return;
  std::memcpy(model_.cmb()->address() + offset, &value, bytes);
}

uint32_t NvmeModelDevice::Read32(int bar, uint64_t offset) {
  return static_cast<uint32_t>(Read(bar, offset, 4));
}
uint64_t NvmeModelDevice::Read64(int bar, uint64_t offset) { return Read(bar, offset, 8); }
void NvmeModelDevice::Write32(int bar, uint64_t offset, uint32_t value) {
  Write(bar, offset, 4, value);
}
void NvmeModelDevice::Write64(int bar, uint64_t offset, uint64_t value) {
  Write(bar, offset, 8, value);
}

std::byte* NvmeModelDevice::MapBar(int bar, uint64_t offset, size_t bytes) {
  if (bar == 0 && options_.map_doorbells && offset >= nvme::kDoorbells) {
    if (offset <= model_.bar().bytes() && bytes <= model_.bar().bytes() - offset) {
      return model_.bar().address() + offset;
    }
  }
  if (bar == 2 && model_.cmb() != nullptr && offset <= model_.cmb()->bytes() &&
      bytes <= model_.cmb()->bytes() - offset) {
    return model_.cmb()->address() + offset;
  }
  return nullptr;
}

uint32_t NvmeModelDevice::interrupt_vectors() const {
  return options_.has_interrupts ? options_.controller.interrupt_vectors : 0;
}

Status NvmeModelDevice::SetInterrupt(uint32_t vector, int eventfd) {
  if (vector >= interrupt_vectors()) return InvalidArgument("there is no vector %u", vector);
  eventfds_[vector] = eventfd;
  return OkStatus();
}

Status NvmeModelDevice::Reset() {
  if (model_.gone()) return NoDevice("the device is gone");
  config_.Reset();
  model_.PowerOn();
  model_.set_bus_master(false);
  return OkStatus();
}

Status NvmeModelDevice::gone() {
  return model_.gone() ? NoDevice("the device is gone") : OkStatus();
}

}  // namespace pollux::models
