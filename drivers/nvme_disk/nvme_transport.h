#pragma once
#include <string>

#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux {

// Where a controller is, from what bdev_nvme_attach_controller says; addresses have one spelling
// afterwards. EINVAL names the field; ENOTSUP: a transport that is not in this version.
struct NvmePlace {
  std::string trtype, traddr;
  std::string adrfam, trsvcid, subnqn;  // On a network.
};
Result<pollux_nvme_transport_id> NvmeTransportId(const NvmePlace& place);
// "PCIe", "VFIOUSER", "TCP".
const char* NvmeTransportName(const pollux_nvme_transport_id& id);
// "IPv4", "IPv6"; of a controller on a network.
const char* NvmeFamilyName(const pollux_nvme_transport_id& id);
bool IsNvmeFabric(const pollux_nvme_transport_id& id);
bool SameNvmePlace(const pollux_nvme_transport_id& a, const pollux_nvme_transport_id& b);

}  // namespace pollux
