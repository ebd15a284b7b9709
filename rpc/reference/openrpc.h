#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "rpc/dispatcher.h"
#include "rpc/reference/comments.h"

namespace pollux::rpc {

// The OpenRPC document (spec.open-rpc.org 1.2.6) of all methods of `services` that have the option,
// as compact JSON: names, parameters, results, error codes, with the words of the .proto files.
// What OpenRPC has no place for is in members that begin with "x-".
std::string OpenRpcDocument(const std::vector<const ServiceDescriptor*>& services,
                            const Comments& comments, std::string_view version);

}  // namespace pollux::rpc
