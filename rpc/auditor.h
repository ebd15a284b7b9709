#pragma once
#include <string>

#include "core/status.h"

namespace pollux::rpc {

// Told, in the order of their ends, of every call that is no mere look, and of everybody who was
// refused. Control loop only; never waits.
class Auditor {
 public:
  // A call that is about to run. `params` is a JSON object, without secrets.
  struct Call {
    std::string who;
    std::string method;
    std::string params;
  };
  virtual void OnCallEnded(const Call& call, const Status& result) = 0;
  // A connection, or a caller without a role.
  virtual void OnCallerRefused(const std::string& who, const Status& why) = 0;

 protected:
  ~Auditor() = default;
};

}  // namespace pollux::rpc
