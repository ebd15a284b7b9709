// How long one call takes by gRPC, beside JSON-RPC: grpc_bench SOCKET
//
// SOCKET is JSON-RPC's; gRPC's is beside it. Prints the medians of 7 runs, in turn, of the p50 of
// 5,000 calls of spdk_get_version, one after the other.
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "rpc/client.h"

namespace pollux::rpc {
namespace {

constexpr int kRuns = 7;
constexpr size_t kCalls = 5'000;
constexpr uint64_t kTimeoutNs = 10 * kNsPerSecond;

uint64_t Median(std::vector<uint64_t> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

Result<uint64_t> JsonCallNs(const std::string& socket) {
  const RealClock clock;
  ASSIGN_OR_RETURN(Client client, Client::Connect(socket, kTimeoutNs));
  std::vector<uint64_t> times;
  for (size_t i = 0; i < kCalls; ++i) {
    const uint64_t begin = clock.NowNs();
    RETURN_IF_ERROR(
        client.Send(R"({"jsonrpc":"2.0","id":1,"method":"spdk_get_version"})", kTimeoutNs));
    ASSIGN_OR_RETURN(const std::string answer, client.Receive(kTimeoutNs));
    times.push_back(clock.NowNs() - begin);
    if (answer.find("\"result\"") == std::string::npos) return InvalidArgument("%s", answer);
  }
  return Median(times);
}

Result<uint64_t> GrpcCallNs(const std::string& socket) {
  const RealClock clock;
  const auto channel = grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials());
  const grpc::internal::RpcMethod method("/pollux.v1.Framework/GetVersion",
                                         grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  std::vector<uint64_t> times;
  for (size_t i = 0; i < kCalls; ++i) {
    grpc::ClientContext context;
    grpc::ByteBuffer response;
    const uint64_t begin = clock.NowNs();
    const grpc::Status status =
        grpc::internal::BlockingUnaryCall(channel.get(), method, &context, request, &response);
    times.push_back(clock.NowNs() - begin);
    if (!status.ok()) return InvalidArgument("%s", status.error_message());
  }
  return Median(times);
}

Status Run(const std::string& socket) {
  std::vector<uint64_t> json, by_grpc;
  for (int i = 0; i < kRuns; ++i) {
    ASSIGN_OR_RETURN(const uint64_t json_ns, JsonCallNs(socket));
    ASSIGN_OR_RETURN(const uint64_t grpc_ns, GrpcCallNs(socket + ".grpc"));
    json.push_back(json_ns);
    by_grpc.push_back(grpc_ns);
  }
  std::printf("one at a time, p50: JSON-RPC %.1f us, gRPC %.1f us (medians of %d)\n",
              static_cast<double>(Median(json)) / 1000.0,
              static_cast<double>(Median(by_grpc)) / 1000.0, kRuns);
  return OkStatus();
}

}  // namespace
}  // namespace pollux::rpc

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: grpc_bench SOCKET\n");
    return 2;
  }
  const pollux::Status status = pollux::rpc::Run(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
