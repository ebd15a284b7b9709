#pragma once
#include <string>

#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux {

// Where a controller is, from what bdev_nvme_attach_controller says; addresses have one spelling
// afterwards. EINVAL names the field; ENOTSUP: a transport that is not in this version.
Result<pollux_nvme_transport_id> NvmeTransportId(const std::string& trtype,
                                                 const std::string& traddr);
// "PCIe", "VFIOUSER".
const char* NvmeTransportName(const pollux_nvme_transport_id& id);

}  // namespace pollux
