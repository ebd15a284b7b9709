#pragma once
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux::pci {

// Where a function sits: domain, bus, device, function. PCI 3.0 §3.2.2.3.4.
struct PciAddress {
  uint32_t domain = 0;  // 16 bits, except those that Linux makes up (Intel VMD: from 0x10000).
  uint8_t bus = 0;
  uint8_t device = 0;    // 0 to 31.
  uint8_t function = 0;  // 0 to 7.

  friend auto operator<=>(const PciAddress&, const PciAddress&) = default;
};

// "0000:01:00.0", as Linux writes it, "01:00.0" in domain 0, and "0000.01.00.0", which SPDK takes
// as well. Nothing else: a number has exactly its digits.
Result<PciAddress> ParsePciAddress(std::string_view text);

// "0000:01:00.0".
std::string ToString(const PciAddress& address);

}  // namespace pollux::pci
