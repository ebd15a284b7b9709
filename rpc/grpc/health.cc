#include "rpc/grpc/health.h"

#include "grpc/health/v1/health.pb.h"
#include "rpc/grpc/status.h"

namespace pollux::rpc {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

std::string Answer(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  return response.SerializeAsString();
}

HealthCheckResponse::ServingStatus StatusOf(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

// Reads the only message. Without one the call has been finished.
Task<std::optional<HealthCheckRequest>> ReceiveRequest(std::shared_ptr<GrpcStream> stream) {
  const std::optional<std::string> bytes = co_await stream->Receive();
  HealthCheckRequest request;
  if (bytes.has_value() && request.ParseFromString(*bytes)) co_return request;
  stream->Finish({.code = GrpcCode::kInvalidArgument,
                  .message = "a grpc.health.v1.HealthCheckRequest is wanted"});
  co_return std::nullopt;
}

}  // namespace

GrpcHealth::GrpcHealth(std::set<std::string> services) : services_(std::move(services)) {
  services_.insert("");
}

void GrpcHealth::SetServing(bool serving) {
  if (serving_ == serving || ended_) return;
  serving_ = serving;
  changed_.Pulse();
}

void GrpcHealth::End() {
  serving_ = false;
  ended_ = true;
  changed_.Pulse();
}

Task<void> GrpcHealth::Check(std::shared_ptr<GrpcStream> stream) {
  const std::optional<HealthCheckRequest> request = co_await ReceiveRequest(stream);
  if (!request.has_value()) co_return;
  if (Knows(request->service())) co_return stream->FinishWith(Answer(StatusOf(serving_)));
  stream->Finish({.code = GrpcCode::kNotFound, .message = "there is no service of that name"});
}

Task<void> GrpcHealth::Watch(std::shared_ptr<GrpcStream> stream) {
  const std::optional<HealthCheckRequest> request = co_await ReceiveRequest(stream);
  if (!request.has_value()) co_return;
  const bool known = Knows(request->service());
  std::optional<HealthCheckResponse::ServingStatus> told;
  for (;;) {
    const HealthCheckResponse::ServingStatus now =
        known ? StatusOf(serving_) : HealthCheckResponse::SERVICE_UNKNOWN;
    if (now != told) {
      const bool sent = co_await stream->Send(Answer(now));
      if (!sent) break;
      told = now;
      continue;  // It may have changed meanwhile.
    }
    if (ended_ || stream->gone()) break;
    co_await changed_;
  }
  stream->Finish({.code = GrpcCode::kUnavailable, .message = "the server is stopping"});
}

}  // namespace pollux::rpc
