#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/status.h"
#include "core/task.h"
#include "core/unique_fd.h"
#include "drivers/pci/vfio_user_client.h"

namespace pollux::pci {

// The beginning of a vfio-user connection, until both sides have agreed on a version, without
// waiting: for loops that have others to serve. A server that takes no connection, or never
// answers, holds up nobody but who wants this device.
class VfioUserGreeting {
 public:
  // `address` as in VfioUserClient::Connect.
  explicit VfioUserGreeting(std::string address, uint64_t timeout_ns = VfioUserClient::kTimeoutNs);

  // Goes on as far as it can. Null: nothing is there yet, and it is to be asked again in a while.
  Result<std::unique_ptr<VfioUserClient>> Step();

 private:
  const std::string address_;
  const uint64_t timeout_ns_;
  const RealClock clock_;
  const uint64_t deadline_ns_;
  std::unique_ptr<VfioUserClient> client_;  // Null: not connected yet.
};

// The same on the loop of the caller, until it is done. Once `cancelled`, which outlives it, is
// set, it ends soon, with ECANCELED.
Task<Result<std::unique_ptr<VfioUserClient>>> GreetVfioUser(std::string address,
                                                            const bool* cancelled);

}  // namespace pollux::pci
