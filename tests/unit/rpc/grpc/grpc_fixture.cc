#include "grpc_fixture.h"

#include <future>
#include <optional>

namespace pollux::rpc {

GrpcFixture::GrpcFixture() : grpc_path_(path() + ".grpc") {
  OnLoop([this] {
    grpc_server_ = std::make_unique<GrpcServer>(*loop_, *dispatcher_);
    EXPECT_TRUE(grpc_server_->BindUnix(grpc_path_).ok());
    EXPECT_TRUE(grpc_server_->Listen().ok());
  });
  channel_ = Channel();
}

GrpcFixture::~GrpcFixture() {
  if (grpc_server_ != nullptr) StopGrpc();
}

void GrpcFixture::StopGrpc(uint64_t drain_ns) {
  std::promise<void> stopped;
  const auto stop = [&]() -> Task<void> {
    co_await grpc_server_->Stop(drain_ns);
    grpc_server_.reset();
    stopped.set_value();
  };
  std::optional<Task<void>> stopping;
  OnLoop([&] {
    stopping.emplace(stop());
    stopping->Start();
    ReleaseAll();
  });
  stopped.get_future().wait();
  OnLoop([&] { stopping.reset(); });
}

std::shared_ptr<grpc::Channel> GrpcFixture::ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

GrpcOutcome GrpcFixture::Call(const std::string& method, const std::string& bytes) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  return CallBy(*channel_, context, method, bytes);
}

GrpcOutcome GrpcFixture::CallBy(grpc::Channel& channel, grpc::ClientContext& context,
                                const std::string& method, const std::string& bytes) {
  const std::string path = method[0] == '/' ? method : "/pollux.rpc_test.Test/" + method;
  const grpc::internal::RpcMethod rpc(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  GrpcOutcome outcome;
  outcome.status = grpc::internal::BlockingUnaryCall(&channel, rpc, &context, request, &response);
  grpc::Slice answer;
  if (outcome.status.ok() && response.DumpToSingleSlice(&answer).ok()) {
    outcome.response.assign(reinterpret_cast<const char*>(answer.begin()), answer.size());
  }
  v1::ErrorStatus status;
  if (status.ParseFromString(outcome.status.error_details()) && status.details_size() == 1) {
    EXPECT_EQ(status.code(), outcome.code());
    EXPECT_EQ(status.message(), outcome.status.error_message());
    EXPECT_TRUE(status.details(0).UnpackTo(&outcome.detail));
  }
  return outcome;
}

}  // namespace pollux::rpc
