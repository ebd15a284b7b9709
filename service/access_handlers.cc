#include "service/access_handlers.h"

#include <algorithm>

#include "rpc/json_codec.h"
#include "service/access_control.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

constexpr char kGrantKind[] = "access_grant";
constexpr char kRoleKind[] = "access_role";

}  // namespace

void AccessHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("pollux_access_grant", this, &AccessHandlers::Grant);
  dispatcher.Bind("pollux_access_revoke", this, &AccessHandlers::Revoke);
  dispatcher.Bind("pollux_access_set_role", this, &AccessHandlers::SetRole);
  dispatcher.Bind("pollux_access_get", this, &AccessHandlers::Get);
  dispatcher.Bind("pollux_access_whoami", this, &AccessHandlers::Whoami);
}

Task<Result<v1::AccessGrantResponse>> AccessHandlers::Grant(v1::AccessGrantRequest request) {
  CO_RETURN_IF_ERROR(appliance_.access().Give(request.who(), request.role()));
  appliance_.OpenRpcToGroups();
  appliance_.configuration().Put({kGrantKind, request.who()},
                                 {{"pollux_access_grant", rpc::EncodeMessage(request)}});
  v1::AccessGrantResponse response;
  response.set_success(true);
  co_return response;
}

Task<Result<v1::AccessRevokeResponse>> AccessHandlers::Revoke(v1::AccessRevokeRequest request) {
  CO_RETURN_IF_ERROR(appliance_.access().Revoke(request.who()));
  appliance_.OpenRpcToGroups();
  appliance_.configuration().Erase({kGrantKind, request.who()});
  v1::AccessRevokeResponse response;
  response.set_success(true);
  co_return response;
}

Task<Result<v1::AccessSetRoleResponse>> AccessHandlers::SetRole(v1::AccessSetRoleRequest request) {
  std::vector<std::string> patterns(request.methods().begin(), request.methods().end());
  for (const std::string& pattern : patterns) {
    const auto all = appliance_.dispatcher().methods();
    if (std::ranges::any_of(
            all, [&](const rpc::Method* m) { return MatchesPattern(m->name, pattern); })) {
      continue;
    }
    co_return InvalidField("methods", pattern, "no method has such a name");
  }
  const bool is_set = !patterns.empty();
  CO_RETURN_IF_ERROR(appliance_.access().SetAllowed(request.role(), std::move(patterns)));
  const ObjectId id{kRoleKind, RoleName(request.role())};
  if (is_set) {
    appliance_.configuration().Put(id, {{"pollux_access_set_role", rpc::EncodeMessage(request)}});
  } else {
    appliance_.configuration().Erase(id);
  }
  v1::AccessSetRoleResponse response;
  response.set_success(true);
  co_return response;
}

Task<Result<v1::AccessGetResponse>> AccessHandlers::Get(v1::AccessGetRequest) {
  const AccessControl& access = appliance_.access();
  v1::AccessGetResponse response;
  for (const auto& [who, grant] : access.grants()) {
    v1::AccessGrant& shown = *response.add_grants();
    shown.set_who(who);
    shown.set_role(grant.role);
  }
  for (const v1::Role role : {v1::ROLE_READ_ONLY, v1::ROLE_OPERATOR, v1::ROLE_ADMIN}) {
    v1::AccessRole& shown = *response.add_roles();
    shown.set_role(role);
    for (const std::string& pattern : access.allowed(role)) shown.add_allowed(pattern);
    for (const rpc::Method* method : appliance_.dispatcher().methods()) {
      if (!access.Allows(role, method->name, rpc::RoleFor(method->options))) continue;
      shown.add_methods(method->name);
    }
    std::sort(shown.mutable_methods()->begin(), shown.mutable_methods()->end());
  }
  co_return response;
}

Task<Result<v1::AccessWhoamiResponse>> AccessHandlers::Whoami(v1::AccessWhoamiRequest,
                                                              rpc::Caller caller) {
  v1::AccessWhoamiResponse response;
  if (caller.identity == nullptr) {
    response.set_name(caller.name);
    response.set_role(v1::ROLE_ADMIN);
  } else {
    response.set_name(caller.identity->account);
    response.set_role(appliance_.access().RoleOf(*caller.identity));
    if (!caller.identity->subject.empty()) response.set_subject(caller.identity->subject);
  }
  co_return response;
}

}  // namespace pollux::service
