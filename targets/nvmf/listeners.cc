#include "targets/nvmf/listeners.h"

#include <algorithm>

#include "core/check.h"

namespace pollux::nvmf {

Status Listeners::AddTransport(std::unique_ptr<Transport> transport) {
  const std::string& trtype = transport->options().trtype;
  if (FindTransport(trtype) != nullptr) {
    return AlreadyExists("there is a transport %s already", trtype);
  }
  transports_.push_back(std::move(transport));
  return OkStatus();
}

Transport* Listeners::FindTransport(const std::string& trtype) const {
  for (const auto& transport : transports_) {
    if (transport->options().trtype == trtype) return transport.get();
  }
  return nullptr;
}

Status Listeners::CheckTransport(const std::string& trtype) const {
  if (FindTransport(trtype) != nullptr) return OkStatus();
  return ErrorOfField(ENOENT, "trtype", trtype, "make it with nvmf_create_transport first");
}

Result<const Listeners::Listener*> Listeners::Open(const std::string& subnqn,
                                                   const ResolvedAddress& address) {
  RETURN_IF_ERROR(CheckTransport(address.text.trtype));
  for (auto& [id, listener] : open_) {
    if (listener.address != address.text) continue;
    listener.subnqns.insert(subnqn);
    return &listener;
  }
  Listener listener;
  listener.id = ++last_id_;
  listener.transport = FindTransport(address.text.trtype);
  const Result<SocketAddress> bound = listener.transport->Listen(listener.id, address.socket);
  if (!bound.ok()) {
    return ErrorOfField(ErrnoOf(bound.status()), "traddr", address.socket.ToString(),
                        DetailOf(bound.status()).reason);
  }
  listener.address = AddressOf(address.text.trtype, *bound);
  listener.subnqns.insert(subnqn);
  return &open_.emplace(listener.id, std::move(listener)).first->second;
}

bool Listeners::Close(const std::string& subnqn, uint32_t id) {
  const auto found = open_.find(id);
  if (found == open_.end()) return false;
  found->second.subnqns.erase(subnqn);
  if (!found->second.subnqns.empty()) return false;
  found->second.transport->StopListening(id);
  open_.erase(found);
  return true;
}

void Listeners::CloseAll() {
  for (const auto& [id, listener] : open_) listener.transport->StopListening(id);
  open_.clear();
}

const Listeners::Listener* Listeners::Find(uint32_t id) const {
  const auto found = open_.find(id);
  return found == open_.end() ? nullptr : &found->second;
}

}  // namespace pollux::nvmf
