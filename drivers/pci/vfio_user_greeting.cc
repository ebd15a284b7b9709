#include "drivers/pci/vfio_user_greeting.h"

#include <utility>

#include "core/run_on.h"

namespace pollux::pci {
namespace {

// A server answers within microseconds, or has trouble.
constexpr uint64_t kStepNs = kNsPerMs;

}  // namespace

VfioUserGreeting::VfioUserGreeting(std::string address, uint64_t timeout_ns)
    : address_(std::move(address)),
      timeout_ns_(timeout_ns),
      deadline_ns_(clock_.NowNs() + timeout_ns) {}

Result<std::unique_ptr<VfioUserClient>> VfioUserGreeting::Step() {
  const bool late = clock_.NowNs() >= deadline_ns_;
  if (client_ == nullptr) {
    ASSIGN_OR_RETURN(UniqueFd socket, VfioUserClient::TryConnect(address_));
    if (!socket.valid()) {
      if (!late) return nullptr;
      return TimedOut("the vfio-user server at %s takes no connection", address_);
    }
    ASSIGN_OR_RETURN(client_, VfioUserClient::AdoptBegin(std::move(socket), address_, timeout_ns_));
  }
  ASSIGN_OR_RETURN(const bool agreed, client_->TryNegotiate());
  if (agreed) return std::move(client_);
  if (!late) return nullptr;
  return client_->Break(TimedOut("the vfio-user server at %s does not answer VERSION", address_));
}

Task<Result<std::unique_ptr<VfioUserClient>>> GreetVfioUser(std::string address,
                                                            const bool* cancelled) {
  VfioUserGreeting greeting(address);
  for (;;) {
    ASSIGN_OR_CO_RETURN(std::unique_ptr<VfioUserClient> client, greeting.Step());
    if (client != nullptr) co_return client;
    Sleep moment(kStepNs);
    co_await moment;
    if (*cancelled) co_return Cancelled("%s: the attach was given up", address);
  }
}

}  // namespace pollux::pci
