#include "targets/nvmf/listen_address.h"

#include <charconv>

#include "absl/strings/ascii.h"
#include "core/log.h"

namespace pollux::nvmf {
namespace {

const char* FamilyOf(const SocketAddress& socket) {
  return socket.family() == AF_INET6 ? "IPv6" : "IPv4";
}

Result<uint16_t> PortOf(const std::string& trsvcid, uint16_t default_port) {
  if (trsvcid.empty()) return default_port;
  uint16_t port = 0;
  const char* const end = trsvcid.data() + trsvcid.size();
  const auto [stop, error] = std::from_chars(trsvcid.data(), end, port);
  if (error != std::errc() || stop != end) {
    return InvalidField("trsvcid", Printable(trsvcid), "must be a port, 0 to 65535");
  }
  return port;
}

}  // namespace

Result<std::string> TransportTypeOf(const std::string& trtype) {
  const std::string upper = absl::AsciiStrToUpper(trtype);
  if (upper == "TCP") return upper;
  if (upper == "RDMA" || upper == "FC" || upper == "VFIOUSER" || upper == "PCIE") {
    return ErrorOfField(ENOTSUP, "trtype", upper, "this version serves NVMe over TCP only");
  }
  return InvalidField("trtype", Printable(trtype), "must be TCP");
}

Result<ResolvedAddress> Resolve(const ListenAddress& address, uint16_t default_port) {
  ResolvedAddress resolved;
  ASSIGN_OR_RETURN(resolved.text.trtype, TransportTypeOf(address.trtype));
  ASSIGN_OR_RETURN(const uint16_t port, PortOf(address.trsvcid, default_port));
  const Result<SocketAddress> socket = SocketAddress::Parse(address.traddr, port);
  if (!socket.ok()) {
    return InvalidField("traddr", Printable(address.traddr), "must be a numeric IP address");
  }
  resolved.socket = *socket;
  const std::string family = absl::AsciiStrToLower(address.adrfam);
  if (!family.empty() && family != absl::AsciiStrToLower(FamilyOf(*socket))) {
    return InvalidField("adrfam", Printable(address.adrfam), "the address is %s",
                        FamilyOf(*socket));
  }
  resolved.text = AddressOf(resolved.text.trtype, *socket);
  return resolved;
}

ListenAddress AddressOf(const std::string& trtype, const SocketAddress& socket) {
  return {.trtype = trtype,
          .adrfam = FamilyOf(socket),
          .traddr = socket.host(),
          .trsvcid = std::to_string(socket.port())};
}

ListenAddress AddressOf(const std::string& trtype, const std::string& host,
                        const std::string& port) {
  return {.trtype = trtype,
          .adrfam = host.find(':') != std::string::npos ? "IPv6" : "IPv4",
          .traddr = host,
          .trsvcid = port};
}

std::string ToString(const ListenAddress& address) {
  const bool bracketed = address.traddr.find(':') != std::string::npos;
  const std::string host = bracketed ? "[" + address.traddr + "]" : address.traddr;
  return absl::StrFormat("%s %s:%s", address.trtype, host, address.trsvcid);
}

}  // namespace pollux::nvmf
