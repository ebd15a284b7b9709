#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "targets/iscsi/session.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {

// All sessions by TSIH, as the control loop knows them: where they live and whose they are. The
// sessions themselves belong to their workers. Control loop only.
class SessionRegistry {
 public:
  struct Entry {
    Session::Identity identity;
    Worker* worker = nullptr;
    std::shared_ptr<Event> gone;
  };

  // Gives the session its TSIH. Null when there is none left.
  const Entry* Add(Session::Identity identity, Worker& worker);
  // The session has ended: who waits for that goes on.
  void Remove(uint16_t tsih);

  const Entry* Find(uint16_t tsih) const;
  // A normal session of the same initiator port with the same target portal group: what a new login
  // reinstates. RFC 7143 §6.3.5.
  const Entry* FindSame(const Session::Identity& identity) const;
  // Those that `matches`; copies, since they may go at any wait.
  template <typename F>
  std::vector<Entry> Select(F matches) const {
    std::vector<Entry> found;
    for (const auto& [tsih, entry] : entries_) {
      if (matches(entry)) found.push_back(entry);
    }
    return found;
  }

  size_t size() const { return entries_.size(); }
  size_t CountOf(bool discovery) const;
  size_t CountOf(const Worker& worker) const;
  // Pulsed whenever one has gone.
  Event& changed() { return changed_; }

 private:
  std::map<uint16_t, Entry> entries_;
  uint16_t last_tsih_ = 0;
  Event changed_;
};

}  // namespace pollux::iscsi
