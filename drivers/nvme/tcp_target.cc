#include "drivers/nvme/tcp_target.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "core/spec/nvme_tcp_spec.h"

namespace pollux::nvme {
namespace {

template <size_t N>
std::string TextOf(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

Result<uint16_t> PortOf(const char* field, const std::string& text, uint16_t fallback) {
  if (text.empty()) return fallback;
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidField(field, text, "is no port");
  }
  return port;
}

Status CheckFamily(const pollux_nvme_transport_id& id, const SocketAddress& address) {
  const int family = id.adrfam == POLLUX_NVME_ADRFAM_IPV4   ? AF_INET
                     : id.adrfam == POLLUX_NVME_ADRFAM_IPV6 ? AF_INET6
                                                            : address.family();
  if (family == address.family()) return OkStatus();
  return InvalidField("traddr", TextOf(id.traddr), "is no address of the family that is given");
}

}  // namespace

bool IsNqn(const std::string& text) {
  return text.size() <= kNqnBytesMax && text.size() > 4 && text.compare(0, 4, "nqn.") == 0;
}

std::string NqnOfHostId(const uint8_t (&host_id)[16]) {
  std::string nqn = "nqn.2014-08.org.nvmexpress:uuid:";
  for (size_t i = 0; i < sizeof(host_id); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) nqn += '-';
    nqn += absl::StrFormat("%02x", host_id[i]);
  }
  return nqn;
}

Result<TcpTarget> FindTcpTarget(const pollux_nvme_transport_id& id,
                                const pollux_nvme_attach_options& options,
                                const std::array<uint8_t, 16>& host_id) {
  TcpTarget target;
  std::string subnqn = TextOf(id.subnqn);
  if (subnqn.empty()) subnqn = kDiscoveryNqn;
  if (!IsNqn(subnqn)) return InvalidField("subnqn", subnqn, "is no NQN");
  target.discovery = subnqn == kDiscoveryNqn;

  const uint16_t usual = target.discovery ? nvme_tcp::kDiscoveryPort : nvme_tcp::kPort;
  ASSIGN_OR_RETURN(const uint16_t port, PortOf("trsvcid", TextOf(id.trsvcid), usual));
  ASSIGN_OR_RETURN(target.address, SocketAddress::Parse(TextOf(id.traddr), port));
  RETURN_IF_ERROR(CheckFamily(id, target.address));
  if (options.host_traddr[0] != 0) {
    ASSIGN_OR_RETURN(const uint16_t source, PortOf("hostsvcid", TextOf(options.host_trsvcid), 0));
    ASSIGN_OR_RETURN(target.source, SocketAddress::Parse(TextOf(options.host_traddr), source));
  }

  ConnectData& names = target.names;
  const auto* own = std::begin(options.host_id);
  const bool given = std::any_of(own, std::end(options.host_id), [](uint8_t b) { return b != 0; });
  std::memcpy(names.hostid, given ? own : host_id.data(), sizeof(names.hostid));
  std::string hostnqn = TextOf(options.host_nqn);
  if (hostnqn.empty()) hostnqn = NqnOfHostId(names.hostid);
  if (!IsNqn(hostnqn)) return InvalidField("hostnqn", hostnqn, "is no NQN");
  std::memcpy(names.subnqn, subnqn.data(), subnqn.size());
  std::memcpy(names.hostnqn, hostnqn.data(), hostnqn.size());
  target.name = target.address.ToString() + " " + subnqn;
  return target;
}

}  // namespace pollux::nvme
