#include "tests/models/ioat_model.h"

#include <algorithm>
#include <cstring>

namespace pollux::models {

using namespace ioat;  // NOLINT: nearly every word here is the device's.

namespace {

constexpr size_t kComplaintsMax = 32;

// What of a channel's block is a register with a behaviour; the rest only stores.
struct ChannelRegister {
  uint64_t offset;
  size_t bytes;
};
constexpr ChannelRegister kChannelRegisters[] = {
    {kChanctrl.offset, 2}, {kDmaComp.offset, 2}, {kChancmd.offset, 1},
    {kDmacount.offset, 2}, {kChansts.offset, 8}, {kChainaddr.offset, 8},
    {kChancmp.offset, 8},  {kCdar.offset, 8},    {kChanerr.offset, 4},
};

uint64_t Ones(size_t bytes) { return ~uint64_t{0} >> (64 - 8 * bytes); }

}  // namespace

IoatModel::IoatModel(const Options& options, DmaSpace& memory)
    : options_(options), memory_(memory), bar_(kBarBytes) {
  for (unsigned i = 0; i < channels_.size(); ++i) channels_[i].number = i;
  PowerOn();
}

template <typename T>
T IoatModel::Get(const Channel& channel, Reg<T> reg) const {
  return MmioRead<T>(bar_.address() + ChannelOffset(channel.number) + reg.offset);
}
template <typename T>
void IoatModel::Set(const Channel& channel, Reg<T> reg, T value) {
  MmioWrite<T>(bar_.address() + ChannelOffset(channel.number) + reg.offset, value);
}
template <typename T>
void IoatModel::SetDevice(Reg<T> reg, T value) {
  MmioWrite<T>(bar_.address() + reg.offset, value);
}

void IoatModel::PowerOn() {
  std::memset(bar_.address(), 0, bar_.bytes());
  SetDevice(kChancnt, options_.channels);
  SetDevice(kXfercap, options_.xfercap);
  SetDevice(kCbver, options_.version);
  SetDevice(kDmacapability, options_.capability);
  for (unsigned i = 0; i < options_.channels; ++i) {
    Channel& channel = channels_[i];
    channel = Channel{};
    channel.number = i;
    Set<uint16_t>(channel, kDmaComp, 0x2);
    SetState(channel, chansts::kHalted);
  }
}

uint64_t IoatModel::state(const Channel& channel) const {
  return chansts::kState.Get(Get(channel, kChansts));
}
void IoatModel::SetState(Channel& channel, uint64_t state) {
  Set(channel, kChansts, chansts::kState.Set(Get(channel, kChansts), state));
}

// --- Registers.

uint64_t IoatModel::ReadRegister(uint64_t offset, size_t bytes) {
  if (gone_ || offset > bar_.bytes() || bytes > bar_.bytes() - offset) return Ones(bytes);
  uint64_t value = 0;
  std::memcpy(&value, bar_.address() + offset, bytes);
  if (offset == kAttnstatus.offset) {
    SetDevice<uint32_t>(kAttnstatus, 0);
    std::byte& control = bar_.address()[kIntrctrl.offset];
    control &= std::byte{0xf9};  // Neither attention nor interrupt.
    return value;
  }
  for (unsigned i = 0; i < options_.channels; ++i) {
    if (offset != ChannelOffset(i) + kChanctrl.offset) continue;
    const auto control = static_cast<uint16_t>(value);
    Set<uint16_t>(channels_[i], kChanctrl, control | chanctrl::kInUse);
  }
  return value;
}

void IoatModel::WriteRegister(uint64_t offset, size_t bytes, uint64_t value) {
  if (gone_ || offset > bar_.bytes() || bytes > bar_.bytes() - offset) return;
  if (offset < ChannelOffset(0)) {
    if (offset == kIntrctrl.offset && bytes == 1) {
      std::byte& control = bar_.address()[kIntrctrl.offset];
      control = (control & std::byte{0x06}) | (static_cast<std::byte>(value) & std::byte{0x09});
    } else if (offset == kIntrdelay.offset || offset > kDcaoffset.offset) {
      std::memcpy(bar_.address() + offset, &value, bytes);
    }
    return;  // The others are read only.
  }
  const uint64_t number = offset / kChannelBytes - 1;
  const uint64_t into = offset % kChannelBytes;
  if (number >= options_.channels) {
    std::memcpy(bar_.address() + offset, &value, bytes);
    return;
  }
  bool known = false;
  for (const ChannelRegister& reg : kChannelRegisters) {
    const uint64_t begin = std::max(into, reg.offset);
    const uint64_t end = std::min(into + bytes, reg.offset + reg.bytes);
    if (begin >= end) continue;
    known = true;
    const uint64_t part = value >> (8 * (begin - into)) & Ones(end - begin);
    const auto shift = 8 * (begin - reg.offset);
    OnChannelWrite(channels_[number], reg.offset, part << shift, Ones(end - begin) << shift);
  }
  if (!known) std::memcpy(bar_.address() + offset, &value, bytes);
}

void IoatModel::OnChannelWrite(Channel& channel, uint64_t reg, uint64_t value, uint64_t mask) {
  const auto merged = [value, mask](uint64_t old) { return (old & ~mask) | value; };
  switch (reg) {
    case kChanctrl.offset: {
      const uint16_t old = Get(channel, kChanctrl);
      auto next = static_cast<uint16_t>(merged(old));
      const bool rearm = (next & mask & chanctrl::kInterruptDisable) != 0;
      next = static_cast<uint16_t>(next & ~chanctrl::kInterruptDisable);
      if (!rearm) next |= old & chanctrl::kInterruptDisable;
      Set(channel, kChanctrl, next);
      if (rearm && channel.interrupt_pending) FireInterrupt(channel);
      return;
    }
    case kChancmd.offset:
      return OnCommand(channel, static_cast<uint8_t>(value));
    case kDmacount.offset:
      Set(channel, kDmacount, static_cast<uint16_t>(merged(Get(channel, kDmacount))));
      return OnDoorbell(channel);
    case kChainaddr.offset: {
      Set(channel, kChainaddr, merged(Get(channel, kChainaddr)));
      if (Get(channel, kChanerr) != 0) {
        if (complaints_.size() < kComplaintsMax) {
          complaints_.push_back("CHAINADDR is written while CHANERR has bits set");
        }
        return;  // It stays halted.
      }
      channel.current = Get(channel, kChainaddr);
      channel.done = channel.seen = 0;
      Set<uint16_t>(channel, kDmacount, 0);
      Set<uint64_t>(channel, kChansts, chansts::kArmed);
      return;
    }
    case kChancmp.offset:
      return Set(channel, kChancmp, merged(Get(channel, kChancmp)));
    case kChanerr.offset:
      return Set(channel, kChanerr, Get(channel, kChanerr) & ~static_cast<uint32_t>(value));
    default:
      return;  // Read only.
  }
}

void IoatModel::OnCommand(Channel& channel, uint8_t command) {
  if ((command & chancmd::kReset) != 0) {
    Set(channel, kChancmd, chancmd::kReset);
    channel.reset_left = options_.reset_steps;
    if (channel.reset_left == 0 && !reset_hangs) EndReset(channel);
    return;
  }
  if ((command & chancmd::kSuspend) != 0 && state(channel) != chansts::kHalted) {
    SetState(channel, chansts::kSuspended);
  }
}

// CHANCTRL and CHANCMP stay what they were.
void IoatModel::EndReset(Channel& channel) {
  ++resets_;
  Channel next;
  next.number = channel.number;
  next.fail_in = channel.fail_in;
  next.fail_with = channel.fail_with;
  next.fail_again = channel.fail_again;
  channel = next;
  Set<uint8_t>(channel, kChancmd, 0);
  Set<uint16_t>(channel, kDmacount, 0);
  Set<uint64_t>(channel, kChainaddr, 0);
  Set<uint32_t>(channel, kChanerr, 0);
  Set<uint64_t>(channel, kChansts, chansts::kHalted);
}

void IoatModel::OnDoorbell(Channel& channel) {
  const uint16_t count = Get(channel, kDmacount);
  if (count != channel.seen) ++doorbells_;
  channel.seen = count;
  const uint64_t now = state(channel);
  if (count != channel.done && (now == chansts::kArmed || now == chansts::kIdle)) {
    SetState(channel, chansts::kActive);
  }
}

// --- Work.

bool IoatModel::busy() const {
  if (gone_ || !bus_master_) return false;
  return std::any_of(channels_.begin(), channels_.begin() + options_.channels,
                     [this](const Channel& channel) {
                       if ((Get(channel, kChancmd) & chancmd::kReset) != 0) return !reset_hangs;
                       const uint64_t now = state(channel);
                       return !stalled && now != chansts::kHalted && now != chansts::kSuspended &&
                              Get(channel, kDmacount) != channel.done;
                     });
}

size_t IoatModel::Step() {
  if (gone_ || !bus_master_) return 0;
  size_t completed = 0;
  for (unsigned i = 0; i < options_.channels; ++i) completed += StepChannel(channels_[i]);
  return completed;
}

size_t IoatModel::Run() {
  size_t completed = 0;
  while (busy()) completed += Step();
  return completed;
}

size_t IoatModel::StepChannel(Channel& channel) {
  if ((Get(channel, kChancmd) & chancmd::kReset) != 0) {
    if (!reset_hangs && (channel.reset_left == 0 || --channel.reset_left == 0)) EndReset(channel);
    return 0;
  }
  if (stalled) return 0;
  OnDoorbell(channel);
  if (state(channel) != chansts::kActive) return 0;
  if (channel.fail_in > 0 && --channel.fail_in == 0) {
    channel.fail_in = channel.fail_again;
    Fail(channel, channel.fail_with);
    return 0;
  }
  const uint64_t address = channel.current;
  Outcome outcome = Execute(address);
  if (outcome.chanerr != 0) {
    if (outcome.chanerr == chanerr::kNextAddress && channel.done == 0) {
      outcome.chanerr = chanerr::kChainAddress;
    }
    Fail(channel, outcome.chanerr);
    return 0;
  }
  const auto left = static_cast<uint16_t>(Get(channel, kDmacount) - channel.done);
  if (outcome.descriptors > left) {
    Fail(channel, chanerr::kDescriptorCount);
    return 0;
  }
  const uint32_t control = executed_.back();
  channel.current = outcome.next;
  channel.done = static_cast<uint16_t>(channel.done + outcome.descriptors);
  const bool last = channel.done == Get(channel, kDmacount);
  Set(channel, kChansts, address | (last ? chansts::kIdle : chansts::kActive));
  if ((control & control::kCompletionUpdate) != 0 && !WriteStatus(channel)) {
    Fail(channel, chanerr::kCompletionAddress);
    return 0;
  }
  if ((control & control::kInterrupt) != 0) Attention(channel);
  return 1;
}

void IoatModel::FailDescriptor(unsigned channel, uint32_t nth, uint32_t chanerr, uint32_t again) {
  channels_[channel].fail_in = nth;
  channels_[channel].fail_with = chanerr;
  channels_[channel].fail_again = again;
}

// What CHANSTS tells is the last descriptor that succeeded.
void IoatModel::Fail(Channel& channel, uint32_t chanerr) {
  Set(channel, kChanerr, Get(channel, kChanerr) | chanerr);
  SetState(channel, chansts::kHalted);
  if (on_error) on_error(chanerr);
  const uint16_t control = Get(channel, kChanctrl);
  if ((control & chanctrl::kErrorCompletion) != 0) WriteStatus(channel);
  if ((control & chanctrl::kErrorInterrupt) != 0) Attention(channel);
}

void IoatModel::PostStatus(unsigned channel, uint64_t status) {
  std::byte* const to = memory_.At(Get(channels_[channel], kChancmp), sizeof status, true);
  if (to == nullptr) return;
  ++status_writes_;
  MmioWrite(to, status);
}

bool IoatModel::WriteStatus(Channel& channel) {
  const uint64_t address = Get(channel, kChancmp);
  if (address % sizeof(uint64_t) != 0) return false;
  std::byte* const to = memory_.At(address, sizeof(uint64_t), true);
  if (to == nullptr) return false;
  if (mute) return true;
  ++status_writes_;
  MmioWrite(to, Get(channel, kChansts));
  return true;
}

// --- Interrupts.

void IoatModel::Attention(Channel& channel) {
  SetDevice<uint32_t>(
      kAttnstatus, MmioRead<uint32_t>(bar_.address() + kAttnstatus.offset) | 1u << channel.number);
  std::byte& control = bar_.address()[kIntrctrl.offset];
  control |= std::byte{intrctrl::kStatus.mask()};
  channel.interrupt_pending = true;
  if ((Get(channel, kChanctrl) & chanctrl::kInterruptDisable) == 0) FireInterrupt(channel);
}

// It then waits for being re-armed.
void IoatModel::FireInterrupt(Channel& channel) {
  std::byte& control = bar_.address()[kIntrctrl.offset];
  if ((control & std::byte{intrctrl::kMasterEnable.mask()}) == std::byte{0}) return;
  control |= std::byte{intrctrl::kInterrupt.mask()};
  channel.interrupt_pending = false;
  const uint16_t latched = Get(channel, kChanctrl) | chanctrl::kInterruptDisable;
  Set<uint16_t>(channel, kChanctrl, latched);
  if (on_interrupt) on_interrupt(channel.number);
}

}  // namespace pollux::models
