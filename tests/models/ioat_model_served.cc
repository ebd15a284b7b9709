#include "tests/models/ioat_model_served.h"

#include <cerrno>
#include <cstring>

#include "tests/models/ioat_model_device.h"

namespace pollux::models {
namespace {

using vfio_user::DmaRegion;
using vfio_user::RegionInfo;

// A turn of the loop costs more than a step.
constexpr int kStepsPerPoll = 256;
// No ring lies there.
constexpr uint64_t kLie = 0xdead000 | ioat::chansts::kIdle;

}  // namespace

IoatModelServed::IoatModelServed(const IoatModel::Options& options, Loop& loop)
    : options_(options), loop_(loop), model_(options, memory_), config_(MakeIoatConfig(options)) {
  model_.set_bus_master(false);
  model_.on_interrupt = [this](unsigned vector) {
    if (server_ != nullptr) server_->Trigger(vfio_user::kMsix, vector);
  };
  model_.on_error = [this](uint32_t bits) { config_.SetBits(ioat::kChanerrInt, bits); };
  loop_.AddPoller(*this);
}

IoatModelServed::~IoatModelServed() { loop_.RemovePoller(*this); }

void IoatModelServed::SetFaults(const Faults& faults) {
  faults_ = faults;
  executed_ = 0;
  model_.stalled = model_.mute = false;
  const uint32_t first = faults.fail_nth != 0 ? faults.fail_nth : faults.fail_every;
  for (unsigned i = 0; i < options_.channels; ++i) {
    model_.FailDescriptor(i, first, faults.chanerr, faults.fail_every);
  }
}

// It is as broken as before.
void IoatModelServed::PowerOn() {
  model_.PowerOn();
  const uint64_t executed = executed_;
  const bool stalled = model_.stalled, mute = model_.mute;
  SetFaults(faults_);
  executed_ = executed;
  model_.stalled = stalled;
  model_.mute = mute;
}

RegionInfo IoatModelServed::region(int index) const {
  RegionInfo info{.readable = true, .writable = true};
  if (index == 0) info.bytes = ioat::kBarBytes;
  if (index == vfio_user::kConfigRegion) info.bytes = PciConfig::kBytes;
  return info.bytes == 0 ? RegionInfo{} : info;
}

uint32_t IoatModelServed::irq_count(int irq_index) const {
  switch (irq_index) {
    case vfio_user::kMsix:
      return options_.channels;
    case vfio_user::kErr:
    case vfio_user::kReq:
      return 1;
    default:
      return 0;
  }
}

int IoatModelServed::ReadRegion(int index, uint64_t offset, std::span<std::byte> data) {
  if (index == vfio_user::kConfigRegion) {
    config_.Read(static_cast<uint32_t>(offset), data);
    return 0;
  }
  if (data.size() > sizeof(uint64_t)) return EINVAL;
  const uint64_t value = model_.ReadRegister(offset, data.size());
  std::memcpy(data.data(), &value, data.size());
  return 0;
}

int IoatModelServed::WriteRegion(int index, uint64_t offset, std::span<const std::byte> data) {
  if (index == vfio_user::kConfigRegion) {
    if (config_.Write(static_cast<uint32_t>(offset), data)) PowerOn();
    model_.set_bus_master(config_.bus_master());
    return 0;
  }
  if (data.size() > sizeof(uint64_t)) return EINVAL;
  uint64_t value = 0;
  std::memcpy(&value, data.data(), data.size());
  model_.WriteRegister(offset, data.size(), value);
  return 0;
}

void IoatModelServed::Reset() {
  config_.Reset();
  PowerOn();
  model_.set_bus_master(false);
}

Task<void> IoatModelServed::OnDmaUnmapping(DmaRegion region) {
  memory_.Remove(region);
  co_return;
}

int IoatModelServed::Poll() {
  uint64_t done = 0;
  for (int i = 0; i < kStepsPerPoll && model_.busy(); ++i) {
    const uint64_t before = executed_ + done;
    done += model_.Step();
    const auto reaches = [before, now = executed_ + done](uint64_t count) {
      return count != 0 && before < count && now >= count;
    };
    if (reaches(faults_.stall_after)) model_.stalled = true;
    if (!reaches(faults_.lie_after)) continue;
    for (unsigned c = 0; c < options_.channels; ++c) model_.PostStatus(c, kLie);
    model_.mute = true;  // The truth would be told soon after.
  }
  executed_ += done;
  return static_cast<int>(done);
}

}  // namespace pollux::models
