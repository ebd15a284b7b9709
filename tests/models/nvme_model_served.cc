#include "tests/models/nvme_model_served.h"

#include <sched.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace pollux::models {
namespace {

using vfio_user::DmaRegion;
using vfio_user::RegionInfo;

// A turn of the loop costs more than a look at the doorbells.
constexpr int kStepsPerPoll = 256;

uint64_t NowNs() { return RealClock().NowNs(); }

}  // namespace

NvmeModelServed::NvmeModelServed(const Options& options, Loop& loop)
    : options_(options),
      loop_(loop),
      model_(options.controller, memory_),
      config_({.vendor = NvmeModel::kVendorId,
               .device = 0x0010,
               .bar0_bytes = model_.bar_bytes(),
               .bar2_bytes = std::bit_ceil(options.controller.cmb_bytes),
               .vectors = options.controller.interrupt_vectors}),
      msix_(PciConfig::kMsixBarBytes) {
  model_.set_bus_master(false);
  if (options.controller.faults.latency_max != 0) model_.clock = NowNs;
  model_.on_interrupt = [this](uint16_t vector) {
    if (server_ != nullptr) server_->Trigger(vfio_user::kMsix, vector);
  };
  loop_.AddPoller(*this);
}

NvmeModelServed::~NvmeModelServed() { loop_.RemovePoller(*this); }

RegionInfo NvmeModelServed::region(int index) const {
  RegionInfo info{.readable = true, .writable = true};
  switch (index) {
    case 0: {
      const SharedMemory& bar = model_.bar();
      info.bytes = bar.bytes();
      if (options_.map_doorbells) {
        info.fd = bar.fd();
        info.areas = {{nvme::kDoorbells, bar.bytes() - nvme::kDoorbells}};
      }
      return info;
    }
    case 2:
      if (model_.cmb() == nullptr) return {};
      info.bytes = model_.cmb()->bytes();
      info.fd = model_.cmb()->fd();
      info.areas = {{0, info.bytes}};
      return info;
    case PciConfig::kMsixBar:
      info.bytes = msix_.size();
      return info;
    case vfio_user::kConfigRegion:
      info.bytes = PciConfig::kBytes;
      return info;
    default:
      return {};
  }
}

uint32_t NvmeModelServed::irq_count(int irq_index) const {
  switch (irq_index) {
    case vfio_user::kMsix:
      return options_.controller.interrupt_vectors;
    case vfio_user::kErr:
    case vfio_user::kReq:
      return 1;
    default:
      return 0;
  }
}

int NvmeModelServed::ReadRegion(int index, uint64_t offset, std::span<std::byte> data) {
  if (index == vfio_user::kConfigRegion) {
    config_.Read(static_cast<uint32_t>(offset), data);
    return 0;
  }
  if (index == 0) {
    if (data.size() != 4 && data.size() != 8) return EINVAL;
    const uint64_t value = model_.ReadRegister(offset, data.size());
    std::memcpy(data.data(), &value, data.size());
    return 0;
  }
  const std::byte* from = index == 2 ? model_.cmb()->address() : msix_.data();
  std::memcpy(data.data(), from + offset, data.size());
  return 0;
}

int NvmeModelServed::WriteRegion(int index, uint64_t offset, std::span<const std::byte> data) {
  if (index == vfio_user::kConfigRegion) {
    if (config_.Write(static_cast<uint32_t>(offset), data)) model_.PowerOn();
    model_.set_bus_master(config_.bus_master());
    return 0;
  }
  if (index == 0) {
    if (data.size() != 4 && data.size() != 8) return EINVAL;
    uint64_t value = 0;
    std::memcpy(&value, data.data(), data.size());
    model_.WriteRegister(offset, data.size(), value);
    return 0;
  }
  std::byte* to = index == 2 ? model_.cmb()->address() : msix_.data();
  std::memcpy(to + offset, data.data(), data.size());
  return 0;
}

void NvmeModelServed::Reset() {
  config_.Reset();
  model_.PowerOn();
  model_.set_bus_master(false);
}

Task<void> NvmeModelServed::OnDmaUnmapping(DmaRegion region) {
  memory_.Remove(region);
  model_.ForgetMemory();
  co_return;
}

int NvmeModelServed::Poll() {
  size_t done = 0;
  for (int i = 0; i < kStepsPerPoll; ++i) done += model_.Step();
  // Where there are fewer cores than there are pollers, it is the client that has something to do.
  if (done == 0) sched_yield();
  return static_cast<int>(std::min<size_t>(done, INT32_MAX));
}

bool NvmeModelServed::MayBlock() { return !model_.needs_steps(options_.map_doorbells); }

}  // namespace pollux::models
