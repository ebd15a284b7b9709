#pragma once
#include <string>

#include "core/status.h"
#include "rpc/dispatcher.h"

// How an error looks in JSON-RPC: the codes of JSON-RPC 2.0 and of SPDK's methods.

namespace pollux::rpc {

inline constexpr int kParseError = -32700;
inline constexpr int kInvalidRequest = -32600;
inline constexpr int kMethodNotFound = -32601;
inline constexpr int kInvalidParams = -32602;
inline constexpr int kInternalError = -32603;
inline constexpr int kWrongState = -1;
inline constexpr int kAccessDenied = -13;  // -EACCES.

enum class CallPhase {
  kParams,     // The parameters do not decode, or are not complete.
  kOperation,  // The handler ran, or was about to.
};

// The code of `method` for an error of the given phase: what the method declares, or the negative
// errno.
int JsonRpcCode(const Method& method, CallPhase phase, const Status& error);

// {"code": ..., "message": ..., "data": {...}}, appended. `data` has field and value where a
// parameter is at fault, and errno and reason where the code does not tell them; it is left out
// when there is neither.
void AppendJsonRpcError(std::string& out, int code, const Status& error);

}  // namespace pollux::rpc
