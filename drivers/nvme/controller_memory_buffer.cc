#include "drivers/nvme/controller_memory_buffer.h"

#include "core/spec/pci_spec.h"

namespace pollux::nvme {
namespace {

constexpr uint32_t kVersion12 = 0x010200, kVersion14 = 0x010400;
constexpr uint64_t kUnitMin = 4096;
constexpr uint32_t kUnitsMax = 6;  // 64 GiB: SZU has no larger ones.

// Where the BAR lies on the bus.
uint64_t BarAddress(pci::PciDevice& device, uint32_t bar) {
  const auto at = static_cast<uint32_t>(pci_spec::kBar0.offset) + bar * 4;
  const uint32_t low = device.ReadConfig(at, 4);
  const uint64_t address = low & pci_spec::bar::kMemoryAddressMask;
  if (pci_spec::bar::kType.Get(low) != pci_spec::bar::kType64) return address;
  return address | uint64_t{device.ReadConfig(at + 4, 4)} << 32;
}

}  // namespace

void ControllerMemoryBuffer::Find(pci::PciDevice& device, Registers& registers,
                                  const Capabilities& capabilities) {
  if (capabilities.version < kVersion12) return;
  must_enable_ = capabilities.version >= kVersion14;
  if (must_enable_) {
    if (!capabilities.controller_memory_buffer) return;
    // Until then the two registers below read as zero.
    registers.Write(kCmbmsc, cmbmsc::kCre.Set(0, 1));
  }
  const uint32_t size = registers.Read(kCmbsz);
  const uint32_t location = registers.Read(kCmbloc);
  if (registers.gone() || cmbsz::kSqs.Get(size) == 0 || cmbsz::kSzu.Get(size) > kUnitsMax) return;

  const uint64_t unit = kUnitMin << (4 * cmbsz::kSzu.Get(size));
  const uint64_t offset = unit * cmbloc::kOfst.Get(location);
  const uint64_t bytes = unit * cmbsz::kSz.Get(size);
  const uint32_t bar = cmbloc::kBir.Get(location);
  if (bytes == 0 || bar >= static_cast<uint32_t>(pci_spec::kBars)) return;
  const uint64_t bar_bytes = device.bar_bytes(static_cast<int>(bar));
  if (offset >= bar_bytes || bytes > bar_bytes - offset) return;  // It lies about itself.
  memory_ = device.MapBar(static_cast<int>(bar), offset, bytes);
  address_ = BarAddress(device, bar) + offset;
  if (memory_ != nullptr) bytes_ = bytes;
}

void ControllerMemoryBuffer::Enable(Registers& registers) const {
  if (bytes_ == 0 || !must_enable_) return;
  // Our memory's addresses are never those of a BAR, so that the device can tell them apart.
  const uint64_t space = cmbmsc::kCba.Set(0, address_ >> 12);
  registers.Write(kCmbmsc, cmbmsc::kCmse.Set(cmbmsc::kCre.Set(space, 1), 1));
}

std::optional<ControllerMemoryBuffer::Room> ControllerMemoryBuffer::Take(size_t bytes,
                                                                         size_t alignment) {
  const uint64_t at = (used_ + alignment - 1) / alignment * alignment;
  if (at > bytes_ || bytes > bytes_ - at) return std::nullopt;
  used_ = at + bytes;
  return Room{memory_ + at, address_ + at};
}

}  // namespace pollux::nvme
