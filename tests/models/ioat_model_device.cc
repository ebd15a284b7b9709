#include "tests/models/ioat_model_device.h"

#include <sys/eventfd.h>

#include <cstring>

namespace pollux::models {

PciConfig MakeIoatConfig(const IoatModel::Options& options) {
  PciConfig config({.vendor = ioat::kVendorIntel,
                    .device = options.device,
                    .bar0_bytes = ioat::kBarBytes,
                    .vectors = options.channels,
                    .class_code = ioat::kClassCode,
                    .msix_bar = 0,
                    .msix_table = kIoatMsixTable,
                    .msix_pba = kIoatMsixPba});
  config.AddErrorRegister(ioat::kDmauncerrsts);
  config.AddErrorRegister(ioat::kChanerrInt);
  config.AddPlainRegister(ioat::kChanerrmskInt);
  return config;
}

IoatModelDevice::IoatModelDevice(const Options& options, RegionRegistry& registry)
    : options_(options),
      mapper_(options.dma_page_bytes),
      dma_(mapper_.Start(registry)),
      model_(options.device, mapper_),
      config_(MakeIoatConfig(options.device)) {
  model_.set_bus_master(false);
  model_.on_error = [this](uint32_t bits) { config_.SetBits(ioat::kChanerrInt, bits); };
  model_.on_interrupt = [this](unsigned vector) {
    if (eventfds_[vector] >= 0) eventfd_write(eventfds_[vector], 1);
  };
}

IoatModelDevice::~IoatModelDevice() { dma_.reset(); }

uint32_t IoatModelDevice::ReadConfig(uint32_t offset, size_t bytes) {
  uint32_t value = ~uint32_t{0} >> (32 - 8 * bytes);
  if (model_.gone()) return value;
  config_.Read(offset, std::span(reinterpret_cast<std::byte*>(&value), bytes));
  return value;
}

void IoatModelDevice::WriteConfig(uint32_t offset, size_t bytes, uint32_t value) {
  if (model_.gone()) return;
  if (config_.Write(offset, std::span(reinterpret_cast<const std::byte*>(&value), bytes))) {
    model_.PowerOn();
  }
  model_.set_bus_master(config_.bus_master());
}

uint64_t IoatModelDevice::Read(int bar, uint64_t offset, size_t bytes) {
  if (options_.steps_when_read) model_.Step();
  return bar == 0 ? model_.ReadRegister(offset, bytes) : ~uint64_t{0};
}
void IoatModelDevice::Write(int bar, uint64_t offset, size_t bytes, uint64_t value) {
  if (bar == 0) model_.WriteRegister(offset, bytes, value);
}

uint8_t IoatModelDevice::Read8(int bar, uint64_t offset) {
  return static_cast<uint8_t>(Read(bar, offset, 1));
}
uint16_t IoatModelDevice::Read16(int bar, uint64_t offset) {
  return static_cast<uint16_t>(Read(bar, offset, 2));
}
uint32_t IoatModelDevice::Read32(int bar, uint64_t offset) {
  return static_cast<uint32_t>(Read(bar, offset, 4));
}
uint64_t IoatModelDevice::Read64(int bar, uint64_t offset) { return Read(bar, offset, 8); }
void IoatModelDevice::Write8(int bar, uint64_t offset, uint8_t value) {
  Write(bar, offset, 1, value);
}
void IoatModelDevice::Write16(int bar, uint64_t offset, uint16_t value) {
  Write(bar, offset, 2, value);
}
void IoatModelDevice::Write32(int bar, uint64_t offset, uint32_t value) {
  Write(bar, offset, 4, value);
}
void IoatModelDevice::Write64(int bar, uint64_t offset, uint64_t value) {
  Write(bar, offset, 8, value);
}

std::byte* IoatModelDevice::MapBar(int bar, uint64_t offset, size_t bytes) {
  if (bar != 0 || !options_.map_doorbells) return nullptr;
  if (offset > ioat::kBarBytes || bytes > ioat::kBarBytes - offset) return nullptr;
  return model_.bar().address() + offset;
}

Status IoatModelDevice::SetInterrupt(uint32_t vector, int eventfd) {
  if (vector >= interrupt_vectors()) return InvalidArgument("there is no vector %u", vector);
  eventfds_[vector] = eventfd;
  return OkStatus();
}

Status IoatModelDevice::Reset() {
  if (model_.gone()) return NoDevice("the device is gone");
  config_.Reset();
  model_.PowerOn();
  model_.set_bus_master(false);
  return OkStatus();
}

Status IoatModelDevice::gone() {
  return model_.gone() ? NoDevice("the device is gone") : OkStatus();
}

}  // namespace pollux::models
