#pragma once
#include <string>

#include "core/status.h"
#include "pollux/v1/options.pb.h"
#include "rpc/identity.h"

namespace pollux::rpc {

// Who may call what. Asked for each call of whoever is not trusted, so that a change counts from
// the next one on. Control loop only.
class AccessRules {
 public:
  // UNSPECIFIED: none. The strongest that the caller has.
  virtual v1::Role RoleOf(const Identity& caller) const = 0;
  // OK, or EACCES with the reason. `needed` is the weakest role that has the method by itself.
  virtual Status Admit(const std::string& method, v1::Role needed,
                       const Identity& caller) const = 0;

 protected:
  ~AccessRules() = default;
};

// The role that has the method by itself.
v1::Role RoleFor(const v1::Rpc& options);

// Says that a caller may not: whatever code a method declares for its failures, this has its own.
Status AccessDenied(const std::string& reason);
bool IsAccessDenied(const Status& status);

}  // namespace pollux::rpc
