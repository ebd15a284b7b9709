#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rpc/access_rules.h"

namespace pollux::service {

// Whom a grant is for, as it is written: a certificate's subject, or "group:" and a name or number.
struct Grantee {
  std::string subject;
  std::optional<uint32_t> group;
};
// ENOENT: there is no such group on this machine.
Result<Grantee> ParseGrantee(const std::string& who);

// The roles that were granted, and what the roles may do. Control loop only.
class AccessControl final : public rpc::AccessRules {
 public:
  struct Grant {
    std::string who;
    Grantee grantee;
    v1::Role role;
  };

  // In place of what `who` had.
  Status Give(const std::string& who, v1::Role role);
  // ENOENT: it has none.
  Status Revoke(const std::string& who);
  // In the order of `who`.
  const std::map<std::string, Grant>& grants() const { return grants_; }
  // Whether members of some group may call by the Unix sockets.
  bool has_groups() const;

  // Of the read-only role or the operator's. Empty: what the role has by itself.
  Status SetAllowed(v1::Role role, std::vector<std::string> patterns);
  const std::vector<std::string>& allowed(v1::Role role) const;
  bool Allows(v1::Role role, const std::string& method, v1::Role needed) const;

  v1::Role RoleOf(const rpc::Identity& caller) const override;
  Status Admit(const std::string& method, v1::Role needed,
               const rpc::Identity& caller) const override;

 private:
  std::map<std::string, Grant> grants_;                   // By `who`.
  std::map<v1::Role, std::vector<std::string>> allowed_;  // Those that were set.
};

// Whether `name` is what `pattern` says, "*" standing for any letters.
bool MatchesPattern(std::string_view name, std::string_view pattern);
// "operator".
const std::string& RoleName(v1::Role role);

}  // namespace pollux::service
