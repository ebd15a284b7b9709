#include "drivers/pci/pci_device.h"

#include "core/spec/pci_spec.h"

namespace pollux::pci {

void PciDevice::SetBusMaster(bool on) {
  constexpr auto kOffset = static_cast<uint32_t>(pci_spec::kCommand.offset);
  const uint32_t old = ReadConfig(kOffset, sizeof(uint16_t));
  // No device sets the reserved bits of this register (§6.2.2): nothing answers.
  if ((old & 0xffff) == 0xffff) return;
  const uint16_t command =
      pci_spec::command::kBusMaster.Set(static_cast<uint16_t>(old), on ? 1 : 0);
  if (command != old) WriteConfig(kOffset, sizeof(uint16_t), command);
}

}  // namespace pollux::pci
