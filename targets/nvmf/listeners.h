#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/net/address.h"
#include "targets/nvmf/listen_address.h"
#include "targets/nvmf/transport.h"

namespace pollux::nvmf {

// The transports, and the addresses that they listen at: one for all subsystems that are reached
// there. An address is open while a subsystem uses it. Control loop only.
class Listeners {
 public:
  struct Listener {
    uint32_t id = 0;
    Transport* transport = nullptr;
    ListenAddress address;  // As bound.
    std::set<std::string> subnqns;
  };

  // EEXIST: there is one of this trtype.
  Status AddTransport(std::unique_ptr<Transport> transport);
  const std::vector<std::unique_ptr<Transport>>& transports() const { return transports_; }
  Transport* FindTransport(const std::string& trtype) const;
  // ENOENT: there is no transport of this kind yet.
  Status CheckTransport(const std::string& trtype) const;

  // The subsystem is reached at this address from now on. A port of 0 is a port of its own.
  Result<const Listener*> Open(const std::string& subnqn, const ResolvedAddress& address);
  // It no longer is. True when nobody uses the address any more, which then is closed: what came
  // through it may still be there.
  bool Close(const std::string& subnqn, uint32_t id);
  // Closes all addresses.
  void CloseAll();
  void DropTransports() { transports_.clear(); }

  const Listener* Find(uint32_t id) const;
  // By id.
  const std::map<uint32_t, Listener>& open() const { return open_; }

 private:
  std::vector<std::unique_ptr<Transport>> transports_;
  std::map<uint32_t, Listener> open_;
  uint32_t last_id_ = 0;
};

}  // namespace pollux::nvmf
