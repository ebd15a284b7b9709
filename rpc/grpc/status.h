#pragma once
#include "rpc/error_map.h"
#include "rpc/grpc/stream.h"

namespace pollux::rpc {

// Longer texts are cut: all trailers of an answer have to fit into the 8 KiB that clients take.
inline constexpr size_t kGrpcTextBytesMax = 1024;

// How an error looks in gRPC: the code that its errno has, and a pollux.v1.ErrorStatus with all
// that JSON-RPC would tell, `json_rpc_code` included.
GrpcStatus ToGrpcStatus(const Status& error, int json_rpc_code);

}  // namespace pollux::rpc
