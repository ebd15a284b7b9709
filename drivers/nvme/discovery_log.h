#pragma once
#include "core/spec/nvmf_spec.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// An entry of the discovery log page, as nvme.h has it. Nothing in it is believed: names that do
// not end, addresses that are none, ports that are no numbers make an entry unusable, and that is
// all. Base §5.16.1.23.
pollux_nvme_discovery_entry DecodeDiscoveryEntry(const DiscoveryLogEntry& entry);

}  // namespace pollux::nvme
