#pragma once
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/sync_stream.h>

#include <memory>
#include <string>

#include "../server_fixture.h"
#include "pollux/v1/error.pb.h"
#include "rpc/grpc/grpc_server.h"

namespace pollux::rpc {

// How a call ended.
struct GrpcOutcome {
  grpc::Status status;
  std::string response;  // Serialised.
  v1::ErrorDetail detail;

  grpc::StatusCode code() const { return status.error_code(); }
  template <typename Response>
  Response As() const {
    Response parsed;
    EXPECT_TRUE(parsed.ParseFromString(response));
    return parsed;
  }
};

// The tests' methods (tests/unit/rpc/test.proto) by gRPC, and a client of gRPC's own.
class GrpcFixture : public ServerFixture {
 protected:
  GrpcFixture();
  ~GrpcFixture() override;

  void StopGrpc(uint64_t drain_ns = kSoonNs);
  std::shared_ptr<grpc::Channel> Channel() { return ChannelTo("unix:" + grpc_path_); }
  // A connection of its own for each channel.
  static std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address);

  // Calls "/pollux.rpc_test.Test/<method>", or the path when it is one.
  GrpcOutcome Call(const std::string& method, const std::string& bytes);
  GrpcOutcome Call(const std::string& method, const google::protobuf::Message& request) {
    return Call(method, request.SerializeAsString());
  }
  static GrpcOutcome CallBy(grpc::Channel& channel, grpc::ClientContext& context,
                            const std::string& method, const std::string& bytes);

  std::string grpc_path_;
  std::unique_ptr<GrpcServer> grpc_server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace pollux::rpc
