#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/net/listener.h"
#include "core/status.h"
#include "targets/iscsi/iscsi_target.h"

namespace pollux::iscsi {

// Portal groups and their listening sockets. Control loop only.
class PortalGroups {
 public:
  static constexpr size_t kPortalsMax = 1024;  // Of a group.

  // Where an accepted connection goes, with the tag of the group that it came through.
  using OnConnection = std::function<void(UniqueFd socket, int32_t tag)>;

  PortalGroups(Loop& loop, OnConnection on_connection);
  ~PortalGroups();

  // While held, groups do not open; Release opens those that were to, and returns the failures.
  void Hold() { held_ = true; }
  std::vector<IscsiTarget::Unopened> Release();

  // All portals open, or none does and the group does not exist.
  Status Create(PortalGroup group, bool wait);
  Status Start(int32_t tag);
  Status Delete(int32_t tag);
  Status SetAuthentication(int32_t tag, Authentication authentication);
  // What discovery sessions through the group must do; nothing when that is for the options to say.
  std::optional<Authentication> AuthenticationOf(int32_t tag) const;
  // Closes all sockets; the groups stay.
  void CloseAll();

  bool Exists(int32_t tag) const { return FindEntry(tag) != nullptr; }
  std::vector<PortalGroup> groups() const;
  // As given, with the port that the kernel chose where 0 was asked for.
  std::vector<PortalGroup> groups_as_bound() const;

 private:
  class Door;
  struct Entry {
    PortalGroup group;
    bool wanted = false;  // To be open.
    std::vector<std::unique_ptr<Door>> doors;
  };

  const Entry* FindEntry(int32_t tag) const;
  Result<Entry*> FindOrFail(int32_t tag);
  Status CheckPortals(const PortalGroup& group) const;
  Status Open(Entry& entry);

  Loop& loop_;
  const OnConnection on_connection_;
  bool held_ = false;
  std::vector<std::unique_ptr<Entry>> entries_;  // In order of creation.
};

// The address that a portal stands for: "*" and "[*]" are the wildcards.
Result<SocketAddress> AddressOf(const Portal& portal);

}  // namespace pollux::iscsi
