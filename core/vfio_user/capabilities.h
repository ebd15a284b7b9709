#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/status.h"

namespace pollux::vfio_user {

// What one end of a connection says of itself in VERSION, as JSON: {"capabilities": {...}}. What is
// absent has the protocol's default, which stands here.
struct Capabilities {
  uint32_t max_msg_fds = 1;  // That its sender can take in one message.
  uint64_t max_data_xfer_size = 1 << 20;
  uint64_t max_dma_maps = 65535;
  uint64_t pgsizes = 4096;  // A set: each bit is a page size.
  bool write_multiple = false;
};

inline constexpr size_t kVersionJsonBytesMax = 4096;
inline constexpr uint32_t kMaxMsgFdsMax = 1024;

// Reads what follows the version numbers: nothing, or JSON with the NUL that ends it. Keys that we
// do not know are skipped, whatever they hold.
Result<Capabilities> ParseCapabilities(std::span<const std::byte> data);

// The same as JSON, with the NUL. `write_multiple` is left out when it is false.
std::string FormatCapabilities(const Capabilities& capabilities);

}  // namespace pollux::vfio_user
