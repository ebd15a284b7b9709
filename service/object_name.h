#pragma once
#include <memory>
#include <string>

#include "rpc/dispatcher.h"

namespace pollux::service {

// The name that `request` gives to the object of this kind: the top-level field whose (object) is
// the kind, as text. Empty when it names none (a name that will be generated).
std::string ObjectName(const std::string& kind, const rpc::Message& request);

// The answer of a method that has nothing to tell but success: its bare bool is true.
std::unique_ptr<rpc::Message> SuccessOf(const rpc::Method& method);

}  // namespace pollux::service
