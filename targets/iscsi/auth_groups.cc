#include "targets/iscsi/auth_groups.h"

#include <algorithm>

#include "core/check.h"
#include "core/log.h"
#include "targets/iscsi/iscsi_spec.h"

namespace pollux::iscsi {
namespace {

constexpr char kNotShown[] = "(secret)";

Status CheckUser(const char* field, const std::string& user) {
  if (user.empty() || user.size() > kValueBytesMax) {
    return InvalidField(field, Printable(user), "must have 1 to %d bytes", kValueBytesMax);
  }
  // A NUL would end the value in the text of a login.
  if (user.find('\0') != std::string::npos) {
    return InvalidField(field, Printable(user), "must not have a NUL byte");
  }
  return OkStatus();
}

Status CheckSecretText(const char* field, const std::string& secret) {
  if (!secret.empty() && secret.size() <= AuthGroups::kSecretBytesMax) return OkStatus();
  return InvalidField(field, kNotShown, "must have 1 to %d bytes", AuthGroups::kSecretBytesMax);
}

Status CheckSecret(const ChapSecret& secret) {
  RETURN_IF_ERROR(CheckUser("user", secret.user));
  RETURN_IF_ERROR(CheckSecretText("secret", secret.secret));
  if (secret.muser.empty() && secret.msecret.empty()) return OkStatus();
  RETURN_IF_ERROR(CheckUser("muser", secret.muser));
  RETURN_IF_ERROR(CheckSecretText("msecret", secret.msecret));
  if (secret.secret == secret.msecret) {  // §9.2.1
    return ErrorOfField(EINVAL, "msecret", kNotShown, "must not be the same as secret");
  }
  return OkStatus();
}

Status CheckNew(const ChapSecret& secret, const std::vector<ChapSecret>& there) {
  RETURN_IF_ERROR(CheckSecret(secret));
  const auto same_user = [&secret](const ChapSecret& other) { return other.user == secret.user; };
  if (std::any_of(there.begin(), there.end(), same_user)) {
    return ErrorOfField(EEXIST, "user", Printable(secret.user), "the group has the user already");
  }
  if (there.size() >= AuthGroups::kSecretsMax) {
    return ErrorOfField(ENOSPC, "user", Printable(secret.user),
                        absl::StrFormat("a group has at most %d users", AuthGroups::kSecretsMax));
  }
  return OkStatus();
}

void WarnOfShortSecrets(int32_t tag, const ChapSecret& secret) {
  const size_t msecret_bytes =
      secret.msecret.empty() ? AuthGroups::kSecretBytesWished : secret.msecret.size();
  const size_t shortest = std::min(secret.secret.size(), msecret_bytes);
  if (shortest >= AuthGroups::kSecretBytesWished) return;
  LogWarning("iscsi",
             "authentication group %d: a secret of user '%s' has %d bytes; RFC 7143 asks for %d "
             "at least",
             tag, Printable(secret.user), shortest, AuthGroups::kSecretBytesWished);
}

}  // namespace

Status Validate(const Authentication& authentication) {
  if (authentication.disable && authentication.require) {
    return InvalidField("require_chap", "true", "contradicts disable_chap");
  }
  if (authentication.mutual && !authentication.require) {
    return InvalidField("mutual_chap", "true", "needs require_chap");
  }
  if (authentication.group < 0) {
    return InvalidField("chap_group", authentication.group, "must not be negative");
  }
  return OkStatus();
}

Status AuthGroups::Create(AuthGroup group) {
  if (group.tag < 1) return InvalidField("tag", group.tag, "must be positive");
  if (Find(group.tag) != nullptr) {
    return ErrorOfField(EEXIST, "tag", std::to_string(group.tag),
                        "an authentication group has it already");
  }
  if (groups_.size() >= kGroupsMax) {
    return ErrorOfField(ENOSPC, "tag", std::to_string(group.tag),
                        absl::StrFormat("there are %d authentication groups already", kGroupsMax));
  }
  std::vector<ChapSecret> checked;
  for (size_t i = 0; i < group.secrets.size(); ++i) {
    const Status good = CheckNew(group.secrets[i], checked);
    if (!good.ok()) return Within(absl::StrFormat("secrets[%d]", i), good);
    checked.push_back(group.secrets[i]);
  }
  for (const ChapSecret& secret : group.secrets) WarnOfShortSecrets(group.tag, secret);
  groups_.push_back(std::make_shared<const AuthGroup>(std::move(group)));
  return OkStatus();
}

void AuthGroups::Load(std::vector<AuthGroup> groups) {
  CHECK(groups_.empty());
  for (AuthGroup& group : groups) {
    groups_.push_back(std::make_shared<const AuthGroup>(std::move(group)));
  }
  from_file_ = groups_.size();
}

Status AuthGroups::AddSecret(int32_t tag, ChapSecret secret) {
  ASSIGN_OR_RETURN(Entry * entry, FindToChange(tag));
  RETURN_IF_ERROR(CheckNew(secret, (*entry)->secrets));
  WarnOfShortSecrets(tag, secret);
  AuthGroup changed = **entry;
  changed.secrets.push_back(std::move(secret));
  *entry = std::make_shared<const AuthGroup>(std::move(changed));
  return OkStatus();
}

Status AuthGroups::RemoveSecret(int32_t tag, const std::string& user) {
  ASSIGN_OR_RETURN(Entry * entry, FindToChange(tag));
  AuthGroup changed = **entry;
  const size_t removed = std::erase_if(
      changed.secrets, [&user](const ChapSecret& secret) { return secret.user == user; });
  if (removed == 0) {
    return ErrorOfField(ENOENT, "user", Printable(user), "the group has no such user");
  }
  *entry = std::make_shared<const AuthGroup>(std::move(changed));
  return OkStatus();
}

Status AuthGroups::Delete(int32_t tag) {
  RETURN_IF_ERROR(FindToChange(tag).status());
  std::erase_if(groups_, [tag](const Entry& group) { return group->tag == tag; });
  return OkStatus();
}

std::shared_ptr<const AuthGroup> AuthGroups::Find(int32_t tag) const {
  const auto found = std::find_if(groups_.begin(), groups_.end(),
                                  [tag](const Entry& group) { return group->tag == tag; });
  return found == groups_.end() ? nullptr : *found;
}

Result<AuthGroups::Entry*> AuthGroups::FindToChange(int32_t tag) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i]->tag != tag) continue;
    if (i >= from_file_) return &groups_[i];
    return ErrorOfField(EPERM, "tag", std::to_string(tag), "the group belongs to auth_file");
  }
  return ErrorOfField(ENOENT, "tag", std::to_string(tag), "there is no such authentication group");
}

std::vector<AuthGroup> AuthGroups::groups() const {
  std::vector<AuthGroup> groups;
  for (const Entry& group : groups_) groups.push_back(*group);
  return groups;
}

}  // namespace pollux::iscsi
