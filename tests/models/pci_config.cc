#include "tests/models/pci_config.h"

#include <algorithm>
#include <cstring>

#include "core/spec/pci_spec.h"

namespace pollux::models {

namespace spec = pci_spec;

namespace {

constexpr uint32_t kPmAt = 0x40, kMsixAt = 0x50, kExpressAt = 0x60;
constexpr uint32_t kMemory64 = 0x4;  // PCI 3.0 §6.2.5.1: a memory BAR of 64 bits.
constexpr uint8_t kRevision = 1;

}  // namespace

template <typename T>
void PciConfig::Set(uint32_t offset, T value, T writable) {
  std::memcpy(first_.data() + offset, &value, sizeof value);
  std::memcpy(writable_.data() + offset, &writable, sizeof writable);
}

PciConfig::PciConfig(const Options& options) {
  Set<uint16_t>(spec::kVendorId.offset, options.vendor);
  Set<uint16_t>(spec::kDeviceId.offset, options.device);
  Set<uint16_t>(spec::kCommand.offset, 0, 0x0406);  // Memory, bus master, INTx disable.
  Set<uint16_t>(spec::kStatus.offset, spec::status::kCapabilitiesList.Set(0, 1));
  Set<uint32_t>(spec::kRevisionId.offset, options.class_code << 8 | kRevision);
  Set<uint8_t>(spec::kCapabilitiesPointer.offset, kPmAt);
  Set<uint16_t>(spec::kSubsystemVendorId.offset, options.vendor);
  Set<uint16_t>(spec::kSubsystemId.offset, options.device);
  const auto set_bar = [this](uint32_t bar, uint64_t bytes) {
    if (bytes == 0) return;
    const uint32_t at = static_cast<uint32_t>(spec::kBar0.offset) + 4 * bar;
    Set<uint64_t>(at, kMemory64, ~(bytes - 1));
  };
  set_bar(0, options.bar0_bytes);
  set_bar(2, options.bar2_bytes);
  if (options.msix_bar == kMsixBar) set_bar(kMsixBar, kMsixBarBytes);

  Set<uint16_t>(kPmAt, spec::kPowerManagementId | kMsixAt << 8);
  Set<uint16_t>(kPmAt + spec::pm::kPmc.offset, spec::pm::kVersion.Set(0, 3));
  Set<uint16_t>(kPmAt + spec::pm::kPmcsr.offset, spec::pm::kNoSoftReset.Set(0, 1), 0x3);

  Set<uint16_t>(kMsixAt, spec::kMsixId | kExpressAt << 8);
  Set<uint16_t>(kMsixAt + spec::msix::kMessageControl.offset,
                static_cast<uint16_t>(options.vectors - 1), 0xc000);
  const auto bir = static_cast<uint32_t>(options.msix_bar);
  Set<uint32_t>(kMsixAt + spec::msix::kTable.offset, options.msix_table | bir);
  Set<uint32_t>(kMsixAt + spec::msix::kPba.offset, options.msix_pba | bir);

  Set<uint16_t>(kExpressAt, spec::kPciExpressId);
  Set<uint16_t>(kExpressAt + spec::express::kCapabilities.offset, 0x0002);  // Version 2, endpoint.
  Set<uint32_t>(kExpressAt + spec::express::kDeviceCapabilities.offset,
                spec::express::kFunctionLevelReset.Set(0, 1));
  Set<uint16_t>(kExpressAt + spec::express::kDeviceControl.offset, 0, 0x7fff);
  Set<uint32_t>(kExpressAt + spec::express::kLinkCapabilities.offset, 0x43);  // 8 GT/s, 4 lanes.
  Set<uint16_t>(kExpressAt + spec::express::kLinkStatus.offset, 0x43);
  Reset();
}

void PciConfig::Reset() { space_ = first_; }

void PciConfig::Read(uint32_t offset, std::span<std::byte> data) const {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset >= kBytes) return;
  std::copy_n(space_.begin() + offset, std::min<size_t>(data.size(), kBytes - offset),
              data.begin());
}

bool PciConfig::Write(uint32_t offset, std::span<const std::byte> data) {
  bool reset = false;
  constexpr uint32_t kFlrByte = kExpressAt + spec::express::kDeviceControl.offset + 1;
  for (size_t i = 0; i < data.size() && offset + i < kBytes; ++i) {
    const size_t at = offset + i;
    space_[at] = (space_[at] & ~writable_[at]) | (data[i] & writable_[at]);
    space_[at] &= ~(data[i] & clearable_[at]);
    if (at == kFlrByte && (data[i] & std::byte{0x80}) != std::byte{0}) reset = true;
  }
  if (reset) Reset();
  return reset;
}

bool PciConfig::bus_master() const {
  return (space_[spec::kCommand.offset] & std::byte{4}) != std::byte{0};
}

void PciConfig::AddErrorRegister(uint32_t offset) {
  std::fill_n(clearable_.begin() + offset, 4, std::byte{0xff});
}

void PciConfig::AddPlainRegister(uint32_t offset) { Set<uint32_t>(offset, 0, ~uint32_t{0}); }

void PciConfig::SetBits(uint32_t offset, uint32_t bits) {
  uint32_t value = 0;
  std::memcpy(&value, space_.data() + offset, sizeof value);
  value |= bits;
  std::memcpy(space_.data() + offset, &value, sizeof value);
}

}  // namespace pollux::models
