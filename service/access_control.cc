#include "service/access_control.h"

#include <grp.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "rpc/json_codec.h"

namespace pollux::service {
namespace {

constexpr std::string_view kGroup = "group:";
constexpr size_t kWhoBytesMax = 1024;
constexpr size_t kGrantsMax = 1024;
constexpr size_t kPatternsMax = 256;
// What decides about who may call is no list's to give away.
constexpr std::string_view kOwnMethods = "pollux_access_";
constexpr std::string_view kWhoami = "pollux_access_whoami";

Result<uint32_t> GroupNumber(const std::string& name) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size()) return number;
  std::vector<char> room(16 * 1024);
  group entry{};
  group* found = nullptr;
  int failed = 0;
  while ((failed = getgrnam_r(name.c_str(), &entry, room.data(), room.size(), &found)) == ERANGE) {
    room.resize(room.size() * 2);
  }
  if (found == nullptr) {
    return ErrorOfField(ENOENT, "who", std::string(kGroup) + name,
                        "there is no such group on this machine");
  }
  return found->gr_gid;
}

}  // namespace

Result<Grantee> ParseGrantee(const std::string& who) {
  if (who.empty() || who.size() > kWhoBytesMax) {
    return InvalidField("who", who, "must have 1 to %d bytes", kWhoBytesMax);
  }
  Grantee grantee;
  if (who.starts_with(kGroup)) {
    ASSIGN_OR_RETURN(grantee.group, GroupNumber(who.substr(kGroup.size())));
  } else if (who.find('=') != std::string::npos) {
    grantee.subject = who;
  } else {
    return InvalidField("who", who,
                        "must be the subject of a certificate, such as CN=ansible,O=Example, or "
                        "group:NAME");
  }
  return grantee;
}

Status AccessControl::Give(const std::string& who, v1::Role role) {
  ASSIGN_OR_RETURN(Grantee grantee, ParseGrantee(who));
  if (grants_.size() >= kGrantsMax && !grants_.contains(who)) {
    return ErrorOfErrno(
        ENOSPC, absl::StrFormat("there are %d grants, as many as there may be", kGrantsMax));
  }
  grants_[who] = {.who = who, .grantee = std::move(grantee), .role = role};
  return OkStatus();
}

Status AccessControl::Revoke(const std::string& who) {
  if (grants_.erase(who) == 1) return OkStatus();
  return ErrorOfField(ENOENT, "who", who, "has no grant");
}

bool AccessControl::has_groups() const {
  return std::ranges::any_of(
      grants_, [](const auto& entry) { return entry.second.grantee.group.has_value(); });
}

Status AccessControl::SetAllowed(v1::Role role, std::vector<std::string> patterns) {
  if (role != v1::ROLE_READ_ONLY && role != v1::ROLE_OPERATOR) {
    return InvalidField("role", RoleName(role),
                        "has all methods: only read-only and operator can "
                        "have a list");
  }
  if (patterns.size() > kPatternsMax) {
    return InvalidField("methods", std::to_string(patterns.size()), "at most %d", kPatternsMax);
  }
  if (patterns.empty()) {
    allowed_.erase(role);
  } else {
    allowed_[role] = std::move(patterns);
  }
  return OkStatus();
}

const std::vector<std::string>& AccessControl::allowed(v1::Role role) const {
  static const std::vector<std::string> kNone;
  const auto found = allowed_.find(role);
  return found == allowed_.end() ? kNone : found->second;
}

bool AccessControl::Allows(v1::Role role, const std::string& method, v1::Role needed) const {
  if (role == v1::ROLE_UNSPECIFIED) return false;
  if (role == v1::ROLE_ADMIN || method == kWhoami) return true;
  if (method.starts_with(kOwnMethods)) return false;
  const auto listed = allowed_.find(role);
  if (listed == allowed_.end()) return needed <= role;
  return std::ranges::any_of(
      listed->second, [&](const std::string& pattern) { return MatchesPattern(method, pattern); });
}

v1::Role AccessControl::RoleOf(const rpc::Identity& caller) const {
  if (caller.trusted) return v1::ROLE_ADMIN;
  v1::Role strongest = v1::ROLE_UNSPECIFIED;
  for (const auto& [who, grant] : grants_) {
    const Grantee& grantee = grant.grantee;
    const bool is_meant =
        grantee.group.has_value()
            ? std::ranges::find(caller.groups, *grantee.group) != caller.groups.end()
            : !caller.subject.empty() && caller.subject == grantee.subject;
    if (is_meant) strongest = std::max(strongest, grant.role);
  }
  return strongest;
}

Status AccessControl::Admit(const std::string& method, v1::Role needed,
                            const rpc::Identity& caller) const {
  const v1::Role role = RoleOf(caller);
  if (Allows(role, method, needed)) return OkStatus();
  if (role == v1::ROLE_UNSPECIFIED) {
    return rpc::AccessDenied(
        absl::StrFormat("%s has no role: an admin can give it one by "
                        "pollux_access_grant",
                        caller.name));
  }
  if (!allowed(role).empty()) {
    return rpc::AccessDenied(
        absl::StrFormat("%s is not on the list of the role %s, which is all "
                        "that %s has",
                        method, RoleName(role), caller.name));
  }
  return rpc::AccessDenied(absl::StrFormat("%s needs the role %s, and %s has the role %s", method,
                                           RoleName(needed), caller.name, RoleName(role)));
}

bool MatchesPattern(std::string_view name, std::string_view pattern) {
  size_t star = std::string_view::npos, resumed = 0;  // The last "*", and where it ends in `name`.
  size_t n = 0, p = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resumed = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resumed;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

const std::string& RoleName(v1::Role role) {
  return rpc::JsonValueOf(*v1::Role_descriptor()->FindValueByNumber(role));
}

}  // namespace pollux::service
