#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "targets/nvmf/error_log.h"

namespace pollux::nvmf {

// Who a controller is, and whose: never changes. Its queues on all reactors share it.
struct ControllerIdentity {
  uint16_t cntlid = 0;
  bool discovery = false;
  std::string subnqn;
  std::string hostnqn;
  std::array<uint8_t, 16> hostid{};
  uint32_t listener_id = 0;
  std::string local_address;  // That the host came to; may be empty.
  size_t home = 0;            // Index of the reactor of its admin queue.
  // What has failed on any of its queues. Every reactor writes to it.
  std::shared_ptr<ErrorLog> errors = std::make_shared<ErrorLog>();
};

}  // namespace pollux::nvmf
