#include "drivers/ioat/device.h"

#include <poll.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/clock.h"
#include "core/spec/pci_spec.h"
#include "drivers/ioat/device_table.h"
#include "drivers/ioat/host.h"

namespace pollux::ioat {
namespace {

constexpr uint32_t kDescriptorsDefault = 1024, kDescriptorsMin = 16, kDescriptorsMax = 32768;
constexpr uint32_t kTimeoutDefaultMs = 2000;
// One byte less than what the size field holds in a power of two.
constexpr unsigned kXfercapMin = 12, kXfercapMax = 31;
constexpr size_t kStatusBytes = 4096;  // A page of its own before the ring.

}  // namespace

IoatDevice::IoatDevice(IoatHost& host, std::unique_ptr<pci::PciDevice> pci,
                       const std::string& address, const pollux_ioat_attach_options& options)
    : host_(host), pci_(std::move(pci)), options_(options) {
  const size_t bytes = std::min(address.size(), sizeof info_.address - 1);
  std::memcpy(info_.address, address.data(), bytes);
}

IoatDevice::~IoatDevice() {
  pci_->SetBusMaster(false);
  channels_.clear();
}

Status IoatDevice::ReadCapabilities() {
  const uint32_t ids = pci_->ReadConfig(0, 4);
  info_.vendor = static_cast<uint16_t>(ids);
  info_.device = static_cast<uint16_t>(ids >> 16);
  info_.numa_node = pci_->numa_node();
  if (ids == pci_spec::kAllOnes) return NoDevice("%s does not answer", pci_->name());
  const DeviceModel* model = FindDeviceModel(info_.vendor, info_.device);
  if (model == nullptr) {
    return NoDevice("%s is no I/OAT device that is known: %04x:%04x", pci_->name(), info_.vendor,
                    info_.device);
  }
  info_.model = model->name;
  const uint8_t version = pci_->Read8(0, kCbver.offset);
  if (version == 0xff) return NoDevice("%s does not answer: all ones", pci_->name());
  info_.version = std::min(version, model->version_max);
  if (info_.version < kVersion30 || info_.version > 0x3f) {
    return NoDevice("%s has version %u.%u, and 3.0 to 3.4 are known", pci_->name(),
                    info_.version >> 4, info_.version & 15);
  }
  const unsigned channels = pci_->Read8(0, kChancnt.offset) & 0x1f;
  info_.channels = std::min<unsigned>(channels, kChannelsMax);
  if (channels == 0) return NoDevice("%s has no channels", pci_->name());
  if (pci_->bar_bytes(0) < ChannelOffset(info_.channels)) {
    return NoDevice("%s has registers of %u bytes, too few for its channels", pci_->name(),
                    pci_->bar_bytes(0));
  }
  const unsigned xfercap = pci_->Read8(0, kXfercap.offset) & 0x1f;
  if (xfercap != 0 && xfercap < kXfercapMin) {
    return NoDevice("%s moves 2^%u bytes at once, and 2^12 are the least", pci_->name(), xfercap);
  }
  info_.transfer_bytes_max = uint64_t{1} << (xfercap == 0 ? kXfercapMax : xfercap);
  info_.capabilities = pci_->Read32(0, kDmacapability.offset);
  info_.fill = (info_.capabilities & capability::kFill) != 0;
  info_.xor_ = !model->no_raid && (info_.capabilities & capability::kXor) != 0;
  info_.pq = !model->no_raid && (info_.capabilities & capability::kPq) != 0;
  return OkStatus();
}

void IoatDevice::ClearErrorInterrupt() {
  const std::lock_guard lock(config_mutex_);
  const uint32_t bits = pci_->ReadConfig(kChanerrInt, 4);
  if (bits != 0 && bits != pci_spec::kAllOnes) pci_->WriteConfig(kChanerrInt, 4, bits);
}

Status IoatDevice::MakeChannel(unsigned number) {
  ChannelMemory made;
  const size_t bytes = kStatusBytes + size_t{info_.descriptors} * kDescriptorBytes;
  ASSIGN_OR_RETURN(made.pages, host_.MapPages("ioat: ring", bytes));
  IoatChannel::Parts parts;
  parts.number = number;
  parts.descriptors = info_.descriptors;
  parts.status = made.pages->address();
  parts.ring = reinterpret_cast<Descriptor*>(made.pages->address() + kStatusBytes);
  pci::DmaView view(pci_->dma());
  const pci::DmaView::Piece status = view.Translate(parts.status);
  const pci::DmaView::Piece ring = view.Translate(parts.ring);
  if (status.bytes < sizeof(uint64_t) || ring.bytes < bytes - kStatusBytes) {
    return OutOfMemory("the ring is not one piece for the device: hugepages are needed");
  }
  parts.status_iova = status.iova;
  parts.ring_iova = ring.iova;
  parts.doorbell = pci_->MapBar(0, ChannelOffset(number) + kDmacount.offset, sizeof(uint16_t));
  parts.device = pci_.get();
  parts.dma = &pci_->dma();
  parts.clock = &host_.clock();
  parts.transfer_bytes_max = info_.transfer_bytes_max;
  parts.fill = info_.fill;
  parts.xor_ = info_.xor_;
  parts.pq = info_.pq;
  parts.timeout_ns =
      (options_.timeout_ms == 0 ? kTimeoutDefaultMs : options_.timeout_ms) * kNsPerMs;
  parts.gone = &gone_;
  parts.cut = [this] {
    const std::lock_guard lock(config_mutex_);
    pci_->SetBusMaster(false);
  };
  parts.clear_error_interrupt = [this] { ClearErrorInterrupt(); };
  made.channel = std::make_unique<pollux_ioat_channel>(parts);
  channels_.push_back(std::move(made));
  return OkStatus();
}

Status IoatDevice::Start() {
  info_.descriptors = options_.descriptors == 0 ? kDescriptorsDefault : options_.descriptors;
  if (!std::has_single_bit(info_.descriptors) || info_.descriptors < kDescriptorsMin ||
      info_.descriptors > kDescriptorsMax) {
    return InvalidField("descriptors", info_.descriptors, "is no power of two from 16 to 32768");
  }
  RETURN_IF_ERROR(ReadCapabilities());
  for (unsigned i = 0; i < info_.channels; ++i) RETURN_IF_ERROR(MakeChannel(i));
  pci_->SetBusMaster(true);
  for (const ChannelMemory& each : channels_) each.channel->Start();
  return OkStatus();
}

Status IoatDevice::Detach() {
  if (state_ == POLLUX_IOAT_DEVICE_DETACHING || state_ == POLLUX_IOAT_DEVICE_DETACHED) {
    return OkStatus();
  }
  for (const ChannelMemory& each : channels_) {
    if (each.channel->taken) return Busy("a channel of %s is in use", pci_->name());
  }
  for (const ChannelMemory& each : channels_) each.channel->Stop();
  state_ = POLLUX_IOAT_DEVICE_DETACHING;
  return OkStatus();
}

// Callbacks of requests that were left in flight run in it too.
Status IoatDevice::Poll() {
  if (polling_) return failure_;
  polling_ = true;
  switch (state_) {
    case POLLUX_IOAT_DEVICE_ATTACHING:
      Look();
      if (state_ == POLLUX_IOAT_DEVICE_ATTACHING) StepAttaching();
      break;
    case POLLUX_IOAT_DEVICE_READY:
      Look();
      break;
    case POLLUX_IOAT_DEVICE_DETACHING:
      StepDetaching();
      break;
    case POLLUX_IOAT_DEVICE_FAILED:
    case POLLUX_IOAT_DEVICE_GONE:
    case POLLUX_IOAT_DEVICE_DETACHED:
      break;
  }
  polling_ = false;
  return failure_;
}

void IoatDevice::StepAttaching() {
  bool starting = false;
  for (const ChannelMemory& each : channels_) {
    if (each.channel->starting()) each.channel->Poll();
    starting |= each.channel->starting();
  }
  if (starting) return;
  state_ = POLLUX_IOAT_DEVICE_READY;
  for (const ChannelMemory& each : channels_) {
    if (each.channel->running()) continue;
    Look();
    if (state_ == POLLUX_IOAT_DEVICE_GONE) return;
    state_ = POLLUX_IOAT_DEVICE_FAILED;
    failure_ = TimedOut("%s: %s", pci_->name(), each.channel->reason());
    return;
  }
}

void IoatDevice::StepDetaching() {
  bool stopped = true;
  for (const ChannelMemory& each : channels_) {
    each.channel->Poll();
    stopped &= each.channel->out();
  }
  if (stopped) state_ = POLLUX_IOAT_DEVICE_DETACHED;
}

void IoatDevice::Look() {
  Status gone = pci_->gone();
  if (gone.ok() && pci_->removal_fd() >= 0) {
    pollfd look = {pci_->removal_fd(), POLLIN, 0};
    if (poll(&look, 1, 0) > 0) gone = NoDevice("%s is to be given back, or was lost", pci_->name());
  }
  if (gone.ok() && state_ == POLLUX_IOAT_DEVICE_READY) {  // Before, its channels look.
    const std::lock_guard lock(config_mutex_);
    if (pci_->ReadConfig(0, 4) == pci_spec::kAllOnes) {
      gone = NoDevice("%s does not answer", pci_->name());
    }
  }
  if (gone.ok()) return;
  const std::lock_guard lock(config_mutex_);
  pci_->SetBusMaster(false);  // Before anybody takes memory back.
  gone_.store(true, std::memory_order_relaxed);
  state_ = POLLUX_IOAT_DEVICE_GONE;
  failure_ = NoDevice("%s", std::string(gone.message()));
}

Result<pollux_ioat_channel*> IoatDevice::Take(int index) {
  if (state_ == POLLUX_IOAT_DEVICE_ATTACHING) {
    return Unavailable("%s is still being attached", pci_->name());
  }
  if (state_ != POLLUX_IOAT_DEVICE_READY) {
    return NoDevice("%s is %s", pci_->name(), pollux_ioat_device_state_name(state_));
  }
  const auto count = static_cast<int>(channels_.size());
  if (index < -1 || index >= count) return NoSpace("there is no channel %d", index);
  for (int i = 0; i < count; ++i) {
    pollux_ioat_channel& channel = *channels_[static_cast<size_t>(i)].channel;
    if ((index >= 0 && i != index) || channel.taken) continue;
    channel.taken = true;
    return &channel;
  }
  if (index >= 0) return Busy("channel %d is in use", index);
  return NoSpace("all %d channels are in use", count);
}

}  // namespace pollux::ioat
