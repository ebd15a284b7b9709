#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pollux::scsi {

// TransportIDs of iSCSI initiator ports. SPC-4 §7.6.4.6.

// With the port's ISID ("iqn...,i,0x00023d000001"), TPID FORMAT 01b, padded to a multiple of four.
std::vector<uint8_t> EncodeTransportId(std::string_view initiator_port);

// What a TransportID at the beginning of `bytes` names, in lower case, and how long it is. Nothing
// when it is cut, not iSCSI's, of TPID FORMAT 00b (which names no port but a whole initiator), or
// not what the standard allows.
struct ParsedTransportId {
  std::string initiator_port;
  size_t bytes;
};
std::optional<ParsedTransportId> ParseTransportId(std::span<const uint8_t> bytes);

// The name of a port as reservations compare it.
std::string CanonicalPort(std::string_view initiator_port);

}  // namespace pollux::scsi
