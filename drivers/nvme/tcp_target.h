#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/net/address.h"
#include "core/spec/nvmf_spec.h"
#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// Where a subsystem is on the network, and who asks for it: of a transport id and attach options.
struct TcpTarget {
  SocketAddress address;
  std::optional<SocketAddress> source;
  ConnectData names{};  // All but the controller's identifier.
  std::string name;     // "10.0.0.1:4420 nqn...", for messages.
  bool discovery = false;
};

// `host_id`: of the process, where the options have none.
Result<TcpTarget> FindTcpTarget(const pollux_nvme_transport_id& id,
                                const pollux_nvme_attach_options& options,
                                const std::array<uint8_t, 16>& host_id);
// "nqn.2014-08.org.nvmexpress:uuid:...". Base §4.5.
std::string NqnOfHostId(const uint8_t (&host_id)[16]);
// An NQN as the specification has it: not empty, at most 223 bytes, beginning with "nqn.".
bool IsNqn(const std::string& text);

}  // namespace pollux::nvme
