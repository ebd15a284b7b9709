#include <algorithm>
#include <cstring>
#include <string>

#include "core/spec/pci_spec.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme/nvme.h"
#include "drivers/pci/pci_bus.h"

namespace pollux::nvme {
namespace {

template <size_t N>
void CopyText(char (&into)[N], const std::string& text) {
  const size_t bytes = std::min(text.size(), N - 1);
  memcpy(into, text.data(), bytes);
  into[bytes] = 0;
}

pollux_nvme_probe_info InfoOf(const pci::PciFunction& function) {
  pollux_nvme_probe_info info{};
  info.id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
  CopyText(info.id.traddr, pci::ToString(function.address));
  info.vendor = function.vendor;
  info.device = function.device;
  info.subsystem_vendor = function.subsystem_vendor;
  info.subsystem_device = function.subsystem_device;
  info.numa_node = function.numa_node;
  CopyText(info.driver, function.driver);
  return info;
}

}  // namespace
}  // namespace pollux::nvme

int pollux_nvme_probe(pollux_nvme_host* host,
                      bool (*found)(void* context, const pollux_nvme_probe_info* info),
                      void* context) {
  int calls = 0;
  for (const pollux::pci::PciFunction& function : pollux::pci::PciBus(host->files()).List()) {
    if (function.class_code != pollux::pci_spec::class_code::kNvme) continue;
    const pollux_nvme_probe_info info = pollux::nvme::InfoOf(function);
    ++calls;
    if (!found(context, &info)) break;
  }
  return calls;
}
