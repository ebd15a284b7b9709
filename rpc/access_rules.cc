#include "rpc/access_rules.h"

#include <cerrno>

#include "absl/strings/cord.h"

namespace pollux::rpc {
namespace {

constexpr char kDenied[] = "pollux.v1.AccessDenied";

}  // namespace

v1::Role RoleFor(const v1::Rpc& options) {
  return options.role() == v1::ROLE_UNSPECIFIED ? v1::ROLE_OPERATOR : options.role();
}

Status AccessDenied(const std::string& reason) {
  Status status = ErrorOfErrno(EACCES, reason);
  status.SetPayload(kDenied, absl::Cord());
  return status;
}

bool IsAccessDenied(const Status& status) { return status.GetPayload(kDenied).has_value(); }

}  // namespace pollux::rpc
