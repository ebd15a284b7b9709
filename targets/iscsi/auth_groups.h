#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "targets/iscsi/iscsi_target.h"

namespace pollux::iscsi {

// OK, or what contradicts itself. Whether the group exists is seen at login: it may be made later.
Status Validate(const Authentication& authentication);

// Authentication groups by tag. A login keeps the group as it was when it began. Control loop only.
class AuthGroups {
 public:
  static constexpr size_t kGroupsMax = 4096;
  static constexpr size_t kSecretsMax = 1024;      // Of a group.
  static constexpr size_t kSecretBytesMax = 1023;  // SPDK's.
  // RFC 7143 §9.2.1 asks for 96 bits. SPDK takes any; so do we, and say so in the log.
  static constexpr size_t kSecretBytesWished = 12;

  Status Create(AuthGroup group);
  // What auth_file has, which ReadAuthFile checked, when there are no groups yet. These groups
  // change with the file alone: who wants to change them otherwise gets EPERM.
  void Load(std::vector<AuthGroup> groups);
  Status AddSecret(int32_t tag, ChapSecret secret);
  Status RemoveSecret(int32_t tag, const std::string& user);
  // Who is logged in stays.
  Status Delete(int32_t tag);

  // Null when there is none.
  std::shared_ptr<const AuthGroup> Find(int32_t tag) const;
  std::vector<AuthGroup> groups() const;  // In order of creation.

 private:
  using Entry = std::shared_ptr<const AuthGroup>;
  Result<Entry*> FindToChange(int32_t tag);

  std::vector<Entry> groups_;
  size_t from_file_ = 0;  // So many of them, the first.
};

}  // namespace pollux::iscsi
