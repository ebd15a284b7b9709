#include "tests/models/nvme_model_device.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"

namespace pollux::models {
namespace {

constexpr uint64_t kGap = 1 << 20;  // Between regions, and between pages.
constexpr uint64_t kAllOnes = ~uint64_t{0};

std::unique_ptr<pci::DmaMap> StartMap(RegionRegistry& registry, ModelMapper& mapper) {
  Result<std::unique_ptr<pci::DmaMap>> map = pci::DmaMap::Start(registry, mapper);
  CHECK(map.ok());
  return *std::move(map);
}

}  // namespace

// --- ModelMapper.

Result<pci::DmaMapper::Mapping> ModelMapper::Map(const Region& region) {
  Mapping mapping;
  if (page_bytes_ == 0) {
    const uint64_t in_page = reinterpret_cast<uintptr_t>(region.address) % 4096;
    const uint64_t iova = next_ + in_page;
    pieces_[iova] = {region.address, region.bytes};
    mapping.page_iova = {iova};
    next_ += (region.bytes + in_page + 2 * kGap) / kGap * kGap;
    return mapping;
  }
  mapping.page_bytes = page_bytes_;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(region.address);
  const uintptr_t end = begin + region.bytes;
  const uint64_t stride = (page_bytes_ + 2 * kGap) / kGap * kGap;
  for (uintptr_t page = begin / page_bytes_ * page_bytes_; page < end; page += page_bytes_) {
    const uint64_t iova = (next_ + page_bytes_ - 1) / page_bytes_ * page_bytes_;
    next_ = iova + stride;
    const uintptr_t from = std::max(page, begin);
    pieces_[iova + (from - page)] = {reinterpret_cast<std::byte*>(from),
                                     std::min(page + page_bytes_, end) - from};
    mapping.page_iova.push_back(iova);
  }
  // Later pages come first, so that not even the order is right.
  std::map<uint64_t, Piece> moved;
  for (size_t i = 0, j = mapping.page_iova.size() - 1; i < j; ++i, --j) {
    std::swap(mapping.page_iova[i], mapping.page_iova[j]);
  }
  uintptr_t page = begin / page_bytes_ * page_bytes_;
  for (uint64_t iova : mapping.page_iova) {
    const uintptr_t from = std::max(page, begin);
    pieces_.erase(pieces_.lower_bound(iova));
    moved[iova + (from - page)] = {reinterpret_cast<std::byte*>(from),
                                   std::min(page + page_bytes_, end) - from};
    page += page_bytes_;
  }
  pieces_.merge(moved);
  return mapping;
}

void ModelMapper::Unmap(const Region& region, const Mapping& /*mapping*/) {
  std::erase_if(pieces_, [&region](const auto& entry) {
    return entry.second.address >= region.address &&
           entry.second.address < region.address + region.bytes;
  });
}

std::byte* ModelMapper::At(uint64_t iova, uint64_t bytes, bool /*write*/) {
  auto found = pieces_.upper_bound(iova);
  if (found == pieces_.begin()) return nullptr;
  --found;
  const uint64_t offset = iova - found->first;
  const Piece& piece = found->second;
  if (offset >= piece.bytes || bytes > piece.bytes - offset) return nullptr;
  return piece.address + offset;
}

// --- NvmeModelDevice.

NvmeModelDevice::NvmeModelDevice(const Options& options, RegionRegistry& registry)
    : options_(options),
      mapper_(options.dma_page_bytes),
      dma_(StartMap(registry, mapper_)),
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
