#pragma once
#include <memory>

#include "core/net/byte_stream.h"
#include "core/reactors.h"
#include "targets/nvmf/transport.h"

namespace pollux::nvmf {

// NVMe over TCP: listeners on the control loop, connections on the reactors. NVM Express TCP
// Transport Specification 1.0c.
std::unique_ptr<Transport> MakeTcpTransport(Transport::Host& host, Loop& control,
                                            Reactors& reactors, StreamKind stream,
                                            TransportOptions options);

}  // namespace pollux::nvmf
