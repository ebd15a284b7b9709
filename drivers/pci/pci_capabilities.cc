#include "drivers/pci/pci_capabilities.h"

#include "core/spec/pci_spec.h"

namespace pollux::pci {
namespace {

template <typename T>
T Read(PciDevice& device, Reg<T> reg, uint32_t base = 0) {
  return static_cast<T>(device.ReadConfig(base + static_cast<uint32_t>(reg.offset), sizeof(T)));
}

}  // namespace

std::optional<uint32_t> FindCapability(PciDevice& device, uint8_t id) {
  const uint16_t status = Read(device, pci_spec::kStatus);
  if (pci_spec::status::kCapabilitiesList.Get(status) == 0) return std::nullopt;
  uint32_t at = Read(device, pci_spec::kCapabilitiesPointer) & pci_spec::kCapabilityPointerMask;
  for (int i = 0; i < pci_spec::kCapabilitiesMax && at >= pci_spec::kHeaderBytes; ++i) {
    const uint8_t found = Read(device, pci_spec::kCapabilityId, at);
    if (found == 0xff) return std::nullopt;  // Nothing answers any more.
    if (found == id) return at;
    at = Read(device, pci_spec::kNextCapability, at) & pci_spec::kCapabilityPointerMask;
  }
  return std::nullopt;
}

std::optional<MsixTable> FindMsixTable(PciDevice& device) {
  namespace msix = pci_spec::msix;
  const std::optional<uint32_t> at = FindCapability(device, pci_spec::kMsixId);
  if (!at) return std::nullopt;
  const uint16_t control = Read(device, msix::kMessageControl, *at);
  const uint32_t table = Read(device, msix::kTable, *at);
  const auto bar = static_cast<int>(msix::kBir.Get(table));
  if (bar >= pci_spec::kBars) return std::nullopt;
  return MsixTable{.bar = bar,
                   .offset = table & msix::kOffsetMask,
                   .bytes = (uint64_t{msix::kTableSize.Get(control)} + 1) * msix::kEntryBytes};
}

}  // namespace pollux::pci
