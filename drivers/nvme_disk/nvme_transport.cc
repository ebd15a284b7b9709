#include "drivers/nvme_disk/nvme_transport.h"

#include <strings.h>

#include <cstdio>
#include <filesystem>

#include "core/log.h"
#include "drivers/pci/pci_address.h"

namespace pollux {
namespace {

bool Is(const std::string& text, const char* word) { return strcasecmp(text.c_str(), word) == 0; }

// Without what can be written in several ways.
Result<std::string> DirectoryOf(const std::string& traddr) {
  if (traddr.empty() || traddr.find('\0') != std::string::npos) {
    return InvalidField("traddr", traddr, "is the directory of a vfio-user socket");
  }
  std::filesystem::path path = std::filesystem::path(traddr).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.filename() == "cntrl") path = path.parent_path();
  return path.string();
}

}  // namespace

Result<pollux_nvme_transport_id> NvmeTransportId(const std::string& trtype,
                                                 const std::string& traddr) {
  pollux_nvme_transport_id id{};
  std::string address;
  if (Is(trtype, "PCIe")) {
    id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
    const Result<pci::PciAddress> parsed = pci::ParsePciAddress(traddr);
    if (!parsed.ok()) return InvalidField("traddr", traddr, "is no PCI address");
    address = ToString(*parsed);
  } else if (Is(trtype, "VFIOUSER")) {
    id.trtype = POLLUX_NVME_TRANSPORT_VFIOUSER;
    ASSIGN_OR_RETURN(address, DirectoryOf(traddr));
  } else if (Is(trtype, "TCP") || Is(trtype, "RDMA") || Is(trtype, "FC")) {
    return ErrorOfField(ENOTSUP, "trtype", trtype, "this transport is not in this version");
  } else {
    return InvalidField("trtype", trtype, "is PCIe or VFIOUSER");
  }
  if (address.size() >= sizeof(id.traddr)) {
    return InvalidField("traddr", traddr, "has at most %d characters", sizeof(id.traddr) - 1);
  }
  snprintf(id.traddr, sizeof(id.traddr), "%s", address.c_str());
  return id;
}

const char* NvmeTransportName(const pollux_nvme_transport_id& id) {
  return id.trtype == POLLUX_NVME_TRANSPORT_PCIE ? "PCIe" : "VFIOUSER";
}

}  // namespace pollux
