#pragma once
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux::rpc {

// A request object of JSON-RPC 2.0, as far as it can be judged without knowing methods. The views
// are into the text that it was parsed from.
struct JsonRpcRequest {
  // As written, so that the answer has the very same; empty for a notification.
  std::string_view id;
  std::string method;
  std::string_view params;  // A JSON object or array; empty when absent.
  // Why it is no request. The id is kept if it came before the fault.
  Status status;
};

// `text` is one JSON value, checked. Stricter than the standard, as SPDK is: no other keys, none
// twice, `id` is a string, a number or null.
JsonRpcRequest ParseJsonRpcRequest(std::string_view text);

}  // namespace pollux::rpc
