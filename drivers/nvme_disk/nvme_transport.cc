#include "drivers/nvme_disk/nvme_transport.h"

#include <strings.h>

#include <cstring>
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

template <size_t N>
Status SetText(const char* field, const std::string& text, char (&into)[N]) {
  if (text.size() >= N || text.find('\0') != std::string::npos) {
    return InvalidField(field, text, "has at most %d characters", N - 1);
  }
  memcpy(into, text.c_str(), text.size() + 1);
  return OkStatus();
}

// The driver looks at the rest of what is said here when it attaches.
Status SetTcp(const NvmePlace& place, pollux_nvme_transport_id& id) {
  id.trtype = POLLUX_NVME_TRANSPORT_TCP;
  const bool six = place.traddr.find(':') != std::string::npos;
  if (!place.adrfam.empty() && Is(place.adrfam, "ipv6") != six) {
    return InvalidField("adrfam", place.adrfam, "is not the family of the address '%s'",
                        place.traddr);
  }
  id.adrfam = six ? POLLUX_NVME_ADRFAM_IPV6 : POLLUX_NVME_ADRFAM_IPV4;
  if (place.trsvcid.empty()) return InvalidField("trsvcid", "", "is the target's port");
  RETURN_IF_ERROR(SetText("trsvcid", place.trsvcid, id.trsvcid));
  if (place.subnqn.empty()) return InvalidField("subnqn", "", "is the subsystem's name");
  return SetText("subnqn", place.subnqn, id.subnqn);
}

}  // namespace

Result<pollux_nvme_transport_id> NvmeTransportId(const NvmePlace& place) {
  pollux_nvme_transport_id id{};
  std::string address;
  if (Is(place.trtype, "PCIe")) {
    id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
    const Result<pci::PciAddress> parsed = pci::ParsePciAddress(place.traddr);
    if (!parsed.ok()) return InvalidField("traddr", place.traddr, "is no PCI address");
    address = ToString(*parsed);
  } else if (Is(place.trtype, "VFIOUSER")) {
    id.trtype = POLLUX_NVME_TRANSPORT_VFIOUSER;
    ASSIGN_OR_RETURN(address, DirectoryOf(place.traddr));
  } else if (Is(place.trtype, "TCP")) {
    RETURN_IF_ERROR(SetTcp(place, id));
    address = place.traddr;
  } else if (Is(place.trtype, "RDMA") || Is(place.trtype, "FC")) {
    return ErrorOfField(ENOTSUP, "trtype", place.trtype, "this transport is not in this version");
  } else {
    return InvalidField("trtype", place.trtype, "is PCIe, VFIOUSER or TCP");
  }
  RETURN_IF_ERROR(SetText("traddr", address, id.traddr));
  return id;
}

const char* NvmeTransportName(const pollux_nvme_transport_id& id) {
  switch (id.trtype) {
    case POLLUX_NVME_TRANSPORT_PCIE:
      return "PCIe";
    case POLLUX_NVME_TRANSPORT_VFIOUSER:
      return "VFIOUSER";
    case POLLUX_NVME_TRANSPORT_TCP:
      return "TCP";
  }
  return "";
}

const char* NvmeFamilyName(const pollux_nvme_transport_id& id) {
  return id.adrfam == POLLUX_NVME_ADRFAM_IPV6 ? "IPv6" : "IPv4";
}

bool IsNvmeFabric(const pollux_nvme_transport_id& id) {
  return id.trtype == POLLUX_NVME_TRANSPORT_TCP;
}

bool SameNvmePlace(const pollux_nvme_transport_id& a, const pollux_nvme_transport_id& b) {
  return a.trtype == b.trtype && strcmp(a.traddr, b.traddr) == 0 &&
         strcmp(a.trsvcid, b.trsvcid) == 0 && strcmp(a.subnqn, b.subnqn) == 0;
}

}  // namespace pollux
