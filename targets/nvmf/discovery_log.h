#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "targets/nvmf/nvmf_target.h"

namespace pollux::nvmf {

// A place where a subsystem is reached, as the discovery log tells of it.
struct DiscoveryEntry {
  ListenAddress address;
  std::string subnqn;
  uint8_t subtype = nvme::kSubtypeNvm;
  uint16_t port_id = 0;
  uint16_t admin_depth = 0;  // ASQSZ
  uint16_t flags = 0;        // EFLAGS
  bool secure_channel = false;
};

// The address that a host asks, which is one of a listener's where that listens at all addresses.
struct DiscoveryAsker {
  ListenAddress listener;
  std::string local_address;  // Numeric; may be empty.
};

// The address of `listener` that helps this host: that of a listener on all addresses is the one
// that the host came to. False when there is none, or the filters leave it out.
bool ShowTo(const DiscoveryAsker& asker, const TargetOptions& filters, ListenAddress& listener);

// The whole log page. Base §5.16.1.23
std::string MakeDiscoveryLog(uint64_t generation, const std::vector<DiscoveryEntry>& entries);

}  // namespace pollux::nvmf
