#include "drivers/nvme/discovery_log.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>

#include "core/net/address.h"
#include "drivers/nvme/tcp_target.h"

namespace pollux::nvme {
namespace {

// ASCII strings are filled with spaces, and some fill them with NULs; the NQN ends with a NUL.
// A string may take its whole field. Base §1.4.2.
template <size_t N>
std::string_view TextIn(const char (&field)[N]) {
  const std::string_view text(field, strnlen(field, N));
  const size_t last = text.find_last_not_of(' ');
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

template <size_t N>
void Copy(std::string_view text, char (&into)[N]) {
  into[text.copy(into, N - 1)] = 0;
}

bool IsPort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

bool HasControlCharacters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

// Why an entry cannot be attached to, or null; then `id` is where it is.
const char* FindPlace(const DiscoveryLogEntry& entry, pollux_nvme_transport_id& id) {
  if (entry.subtype < kSubtypeReferral || entry.subtype > kSubtypeCurrentDiscovery) {
    return "its subsystem type is not known";
  }
  if (entry.trtype != kTrtypeTcp) return "this driver does not have its transport";
  const std::string_view port = TextIn(entry.trsvcid), address = TextIn(entry.traddr);
  const std::string nqn(TextIn(entry.subnqn));
  if (!IsNqn(nqn) || HasControlCharacters(nqn)) return "its name is no NQN";
  if (!IsPort(port)) return "its service identifier is no port";
  if (address.size() >= sizeof(id.traddr)) return "its address is too long";
  const Result<SocketAddress> parsed = SocketAddress::Parse(address, 0);
  if (!parsed.ok()) return "its address is no IP address";
  if (parsed->IsAny()) return "its address is no place to connect to";
  const bool six = parsed->family() == AF_INET6;
  if (entry.adrfam != (six ? kAdrfamIpv6 : kAdrfamIpv4)) {
    return "its address is of another family than it says";
  }
  id.trtype = POLLUX_NVME_TRANSPORT_TCP;
  id.adrfam = six ? POLLUX_NVME_ADRFAM_IPV6 : POLLUX_NVME_ADRFAM_IPV4;
  Copy(address, id.traddr);
  Copy(port, id.trsvcid);
  Copy(nqn, id.subnqn);
  return nullptr;
}

}  // namespace

pollux_nvme_discovery_entry DecodeDiscoveryEntry(const DiscoveryLogEntry& entry) {
  pollux_nvme_discovery_entry decoded{};
  decoded.unusable = FindPlace(entry, decoded.id);
  decoded.trtype = entry.trtype;
  decoded.adrfam = entry.adrfam;
  decoded.subtype = entry.subtype;
  decoded.treq = entry.treq;
  decoded.tsas = entry.tsas[0];
  decoded.portid = entry.portid;
  decoded.cntlid = entry.cntlid;
  decoded.asqsz = entry.asqsz;
  decoded.eflags = entry.eflags;
  Copy(TextIn(entry.trsvcid), decoded.trsvcid);
  Copy(TextIn(entry.traddr), decoded.traddr);
  Copy(TextIn(entry.subnqn), decoded.subnqn);
  return decoded;
}

}  // namespace pollux::nvme
