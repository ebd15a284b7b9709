#include "targets/iscsi/session_registry.h"

#include <algorithm>

#include "targets/iscsi/names.h"

namespace pollux::iscsi {

const SessionRegistry::Entry* SessionRegistry::Add(Session::Identity identity, Worker& worker) {
  // 0 asks for a new session, and 65535 stands for none in iscsi_get_connections.
  if (entries_.size() >= 65534) return nullptr;
  do {
    ++last_tsih_;
  } while (last_tsih_ == 0 || last_tsih_ == 65535 || entries_.contains(last_tsih_));
  identity.tsih = last_tsih_;
  Entry& entry = entries_[last_tsih_];
  entry.identity = std::move(identity);
  entry.worker = &worker;
  entry.gone = std::make_shared<Event>();
  return &entry;
}

void SessionRegistry::Remove(uint16_t tsih) {
  const auto found = entries_.find(tsih);
  if (found == entries_.end()) return;
  const std::shared_ptr<Event> gone = found->second.gone;
  entries_.erase(found);
  gone->Set();
  changed_.Pulse();
}

const SessionRegistry::Entry* SessionRegistry::Find(uint16_t tsih) const {
  const auto found = entries_.find(tsih);
  return found == entries_.end() ? nullptr : &found->second;
}

const SessionRegistry::Entry* SessionRegistry::FindSame(const Session::Identity& identity) const {
  for (const auto& [tsih, entry] : entries_) {
    const Session::Identity& other = entry.identity;
    if (!other.discovery && other.isid == identity.isid && other.pg_tag == identity.pg_tag &&
        SameName(other.initiator_name, identity.initiator_name) &&
        SameName(other.target_name, identity.target_name)) {
      return &entry;
    }
  }
  return nullptr;
}

size_t SessionRegistry::CountOf(bool discovery) const {
  return static_cast<size_t>(std::count_if(
      entries_.begin(), entries_.end(),
      [discovery](const auto& entry) { return entry.second.identity.discovery == discovery; }));
}

size_t SessionRegistry::CountOf(const Worker& worker) const {
  return static_cast<size_t>(
      std::count_if(entries_.begin(), entries_.end(),
                    [&worker](const auto& entry) { return entry.second.worker == &worker; }));
}

}  // namespace pollux::iscsi
