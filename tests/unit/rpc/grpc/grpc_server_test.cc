#include "rpc/grpc/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/stat.h>

#include <thread>

#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "grpc_fixture.h"
#include "rpc/grpc/transport.h"

namespace pollux::rpc {
namespace {

using namespace rpc_test;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::grpc::reflection::v1alpha::ServerReflectionRequest;
using ::grpc::reflection::v1alpha::ServerReflectionResponse;
using testing::HasSubstr;

class GrpcServerTest : public GrpcFixture {
 protected:
  static EchoRequest EchoOf(const std::string& text, int64_t number = 0) {
    EchoRequest request;
    request.set_text(text);
    request.set_number(number);
    return request;
  }
  static FailRequest FailWith(int error_number, const std::string& field = "") {
    FailRequest request;
    request.set_error_number(error_number);
    request.set_field(field);
    return request;
  }
  HealthCheckResponse::ServingStatus Health(const std::string& service = "") {
    HealthCheckRequest request;
    request.set_service(service);
    const GrpcOutcome outcome = Call("/grpc.health.v1.Health/Check", request);
    if (outcome.code() == grpc::NOT_FOUND) return HealthCheckResponse::SERVICE_UNKNOWN;
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
    return outcome.As<HealthCheckResponse>().status();
  }
  void SetServing(bool serving) {
    OnLoop([&] { grpc_server_->SetServing(serving); });
  }
};

// --- Calls.

TEST_F(GrpcServerTest, AMethodIsCalledByItsPath) {
  const GrpcOutcome outcome = Call("Echo", EchoOf("grüße", int64_t{1} << 60));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.As<EchoResponse>().text(), "grüße");
  EXPECT_EQ(outcome.As<EchoResponse>().number(), int64_t{1} << 60);
}

TEST_F(GrpcServerTest, TheSocketIsForItsOwnerAlone) {
  struct stat found {};
  ASSERT_EQ(stat(grpc_path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(GrpcServerTest, DefaultsAreFilledInAndWhatIsRequiredIsMissed) {
  CreateRequest request;
  request.set_name("disk");
  EXPECT_EQ(Call("Create", request).As<CreateResponse>().name(), "disk/512");

  const GrpcOutcome outcome = Call("Create", CreateRequest());
  EXPECT_EQ(outcome.code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.detail.field(), "name");
  EXPECT_EQ(outcome.detail.reason(), "is required");
  EXPECT_EQ(outcome.detail.error_number(), EINVAL);
  EXPECT_EQ(outcome.detail.json_rpc_code(), -32603);  // What the method declares.
}

TEST_F(GrpcServerTest, EachErrnoHasItsCode) {
  struct Case {
    int error_number;
    grpc::StatusCode code;
  };
  for (const Case& c : std::initializer_list<Case>{{EINVAL, grpc::INVALID_ARGUMENT},
                                                   {ENOENT, grpc::NOT_FOUND},
                                                   {ENODEV, grpc::NOT_FOUND},
                                                   {EEXIST, grpc::ALREADY_EXISTS},
                                                   {EALREADY, grpc::ALREADY_EXISTS},
                                                   {EPERM, grpc::PERMISSION_DENIED},
                                                   {EACCES, grpc::PERMISSION_DENIED},
                                                   {EBUSY, grpc::FAILED_PRECONDITION},
                                                   {ENOMEM, grpc::RESOURCE_EXHAUSTED},
                                                   {ENOSPC, grpc::RESOURCE_EXHAUSTED},
                                                   {EAGAIN, grpc::UNAVAILABLE},
                                                   {ETIMEDOUT, grpc::DEADLINE_EXCEEDED},
                                                   {ECANCELED, grpc::CANCELLED},
                                                   {ENOTSUP, grpc::UNIMPLEMENTED},
                                                   {ENOSYS, grpc::UNIMPLEMENTED},
                                                   {ERANGE, grpc::OUT_OF_RANGE},
                                                   {EBADMSG, grpc::DATA_LOSS},
                                                   {EIO, grpc::INTERNAL}}) {
    const GrpcOutcome outcome = Call("Fail", FailWith(c.error_number));
    EXPECT_EQ(outcome.code(), c.code) << strerror(c.error_number);
    EXPECT_EQ(outcome.status.error_message(), "it did not work");
    EXPECT_EQ(outcome.detail.error_number(), c.error_number);
    EXPECT_EQ(outcome.detail.json_rpc_code(), -c.error_number);
  }
}

TEST_F(GrpcServerTest, AnErrorOfAParameterTellsFieldValueAndReason) {
  const GrpcOutcome outcome = Call("FailPlainly", FailWith(EINVAL, "points[0].x"));
  EXPECT_EQ(outcome.status.error_message(), "points[0].x '7': is not good");
  EXPECT_EQ(outcome.detail.field(), "points[0].x");
  EXPECT_EQ(outcome.detail.value(), "7");
  EXPECT_EQ(outcome.detail.reason(), "is not good");
  EXPECT_EQ(outcome.detail.json_rpc_code(), -32602);
}

TEST_F(GrpcServerTest, AMethodThatIsNotThereIsUnimplemented) {
  for (const char* path : {"/pollux.rpc_test.Test/No", "/pollux.rpc_test.No/Echo", "/x", "/a/b/c",
                           "/grpc.health.v1.Health/No", "/pollux.rpc_test.Test/echo"}) {
    const GrpcOutcome outcome = Call(path, "");
    EXPECT_EQ(outcome.code(), grpc::UNIMPLEMENTED) << path;
    EXPECT_EQ(outcome.detail.json_rpc_code(), -32601);
    EXPECT_EQ(outcome.detail.value(), path);
  }
  EXPECT_EQ(Call("Unbound", Empty()).code(), grpc::UNIMPLEMENTED);
}

TEST_F(GrpcServerTest, AMethodOfTheOtherStateIsRefused) {
  const GrpcOutcome outcome = Call("Prepare", Empty());
  EXPECT_EQ(outcome.code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(outcome.detail.json_rpc_code(), -1);
  EXPECT_EQ(outcome.detail.error_number(), EPERM);
}

// --- Damage.

TEST_F(GrpcServerTest, AFieldThatIsUnknownIsRefusedWithItsNumber) {
  for (const char* method : {"Echo", "Relaxed"}) {
    const GrpcOutcome outcome = Call(method, std::string("\xc8\x3e\x07", 3));  // Field 1001 = 7.
    EXPECT_EQ(outcome.code(), grpc::INVALID_ARGUMENT);
    EXPECT_EQ(outcome.detail.field(), "params");
    EXPECT_EQ(outcome.detail.value(), "field number 1001");
  }
  // Deep inside, too.
  CreateRequest request;
  request.set_name("x");
  request.add_points()
      ->GetReflection()
      ->MutableUnknownFields(request.mutable_points(0))
      ->AddVarint(5, 1);
  EXPECT_EQ(Call("Create", request).detail.field(), "points[0]");
}

TEST_F(GrpcServerTest, BytesThatAreNoMessageAreRefused) {
  const std::string good = EchoOf("hello", 77).SerializeAsString();
  for (size_t cut = 1; cut < good.size(); ++cut) {
    const GrpcOutcome outcome = Call("Echo", good.substr(0, cut));
    EXPECT_TRUE(outcome.code() == grpc::INVALID_ARGUMENT || outcome.status.ok()) << cut;
  }
  for (const std::string& bytes :
       {std::string("\x0a\x7f", 2), std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11),
        std::string("\x0a\x01\xff", 3), std::string("\x0b", 1), std::string(1000, '\0')}) {
    const GrpcOutcome outcome = Call("Echo", bytes);
    EXPECT_EQ(outcome.code(), grpc::INVALID_ARGUMENT);
    EXPECT_THAT(outcome.detail.reason(), HasSubstr("pollux.rpc_test.EchoRequest"));
    EXPECT_EQ(outcome.detail.json_rpc_code(), -32602);
  }
}

TEST_F(GrpcServerTest, ATextWithANulIsRefusedAsInJson) {
  const GrpcOutcome outcome = Call("Echo", EchoOf(std::string("a\0b", 3)));
  EXPECT_EQ(outcome.code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.detail.field(), "text");
}

TEST_F(GrpcServerTest, ARequestThatIsTooLargeIsRefused) {
  const auto text = [](size_t bytes) { return EchoOf(std::string(bytes, 'x')); };
  EXPECT_TRUE(Call("Echo", text(GrpcTransport::kRequestBytesMax - 16)).status.ok());
  EXPECT_EQ(Call("Echo", text(GrpcTransport::kRequestBytesMax)).code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Call("Echo", text(64 << 20)).code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Call("Echo", EchoOf("still there")).status.ok());
}

TEST_F(GrpcServerTest, AnAnswerThatIsTooLargeIsAnError) {
  BigRequest request;
  request.set_bytes(8 << 20);
  EXPECT_EQ(Call("Big", request).As<EchoResponse>().text().size(), size_t{8} << 20);
  request.set_bytes(static_cast<uint32_t>(GrpcTransport::kAnswerBytesMax + 1));
  const GrpcOutcome outcome = Call("Big", request);
  EXPECT_EQ(outcome.detail.error_number(), EMSGSIZE);
  EXPECT_EQ(outcome.detail.json_rpc_code(), -32603);
}

TEST_F(GrpcServerTest, WhatIsCompressedIsRefused) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const GrpcOutcome outcome =
      CallBy(*channel_, context, "Echo", EchoOf(std::string(100'000, 'x')).SerializeAsString());
  EXPECT_EQ(outcome.code(), grpc::UNIMPLEMENTED);
}

// --- Deadlines, cancellation, pause, end.

TEST_F(GrpcServerTest, ACallWhoseCallerLeavesGoesToItsEnd) {
  {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    std::thread caller(
        [&] { EXPECT_EQ(CallBy(*channel_, context, "Wait", "").code(), grpc::CANCELLED); });
    AwaitWaitingCalls(1);
    context.TryCancel();
    caller.join();
  }
  Release(0);
  EXPECT_TRUE(Call("Echo", EchoOf("x")).status.ok());
}

TEST_F(GrpcServerTest, ADeadlineEndsTheWaitOfTheCaller) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  std::thread releaser([&] { AwaitWaitingCalls(1); });
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  EXPECT_EQ(CallBy(*channel_, context, "Wait", "").code(), grpc::DEADLINE_EXCEEDED);
  releaser.join();
  Release(0);
  EXPECT_TRUE(Call("Echo", EchoOf("x")).status.ok());
}

TEST_F(GrpcServerTest, CallsWaitWhileItIsPausedAndTheirDeadlinesPass) {
  OnLoop([&] { grpc_server_->Pause(); });
  grpc::ClientContext late;
  late.set_wait_for_ready(true);
  late.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  EXPECT_EQ(CallBy(*channel_, late, "Nothing", "").code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(Health(), HealthCheckResponse::NOT_SERVING);  // Told all the while.

  std::thread patient([&] { EXPECT_TRUE(Call("Nothing", Empty()).status.ok()); });
  OnLoop([&] {
    EXPECT_EQ(notifications_, 0);
    grpc_server_->Resume();
  });
  patient.join();
  OnLoop([&] { EXPECT_EQ(notifications_, 1); });
}

TEST_F(GrpcServerTest, StopAnswersWhatIsInFlight) {
  std::thread caller([&] {
    const GrpcOutcome outcome = Call("Wait", EchoOf("", 5));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  });
  AwaitWaitingCalls(1);
  StopGrpc();  // Which releases it.
  caller.join();
  EXPECT_EQ(grpc_server_, nullptr);
}

TEST_F(GrpcServerTest, WhatWasHeldIsNotBegunByStop) {
  EXPECT_TRUE(Call("Echo", EchoOf("x")).status.ok());  // Connected.
  OnLoop([&] { grpc_server_->Pause(); });
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice nothing;
  grpc::ByteBuffer response;
  grpc::Status status;
  const auto held = stub.PrepareUnaryCall(&context, "/pollux.rpc_test.Test/Nothing",
                                          grpc::ByteBuffer(&nothing, 1), &queue);
  held->StartCall();
  held->Finish(&response, &status, nullptr);
  // By the same connection: the other call has come before this one is answered.
  EXPECT_EQ(Health(), HealthCheckResponse::NOT_SERVING);
  StopGrpc();
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  OnLoop([&] { EXPECT_EQ(notifications_, 0); });
  queue.Shutdown();
  EXPECT_FALSE(queue.Next(&tag, &ok));
}

TEST_F(GrpcServerTest, StopWaitsForHandlersThatOutlastIt) {
  std::thread caller([&] { EXPECT_FALSE(Call("Wait", EchoOf("", 5)).status.ok()); });
  AwaitWaitingCalls(1);
  bool stopped = false;
  const auto stop = [&]() -> Task<void> {
    co_await grpc_server_->Stop(0);
    grpc_server_.reset();
    stopped = true;
  };
  std::optional<Task<void>> stopping;
  OnLoop([&] {
    stopping.emplace(stop());
    stopping->Start();
  });
  caller.join();  // Without an answer, but at once.
  OnLoop([&] { EXPECT_FALSE(stopped); });
  Release(0);
  for (bool done = false; !done;) OnLoop([&] { done = stopped; });
  OnLoop([&] { stopping.reset(); });
}

// --- Who may come.

TEST_F(GrpcServerTest, TcpIsForThisMachine) {
  std::string address;
  OnLoop([&] {
    const auto outside = grpc_server_->ListenTcp(*SocketAddress::Parse("0.0.0.0", 0));
    EXPECT_THAT(std::string(outside.status().message()), HasSubstr("must be a loopback address"));
    const auto inside = grpc_server_->ListenTcp(*SocketAddress::Parse("127.0.0.1", 0));
    ASSERT_TRUE(inside.ok()) << inside.status();
    address = inside->ToString();
  });
  channel_ = ChannelTo("ipv4:" + address);
  EXPECT_TRUE(Call("Echo", EchoOf("x")).status.ok());
}

TEST_F(GrpcServerTest, APathThatAnotherHasIsRefused) {
  OnLoop([&] {
    const Status taken = grpc_server_->BindUnix(path());
    EXPECT_EQ(ErrnoOf(taken), EADDRINUSE) << taken;
  });
}

TEST_F(GrpcServerTest, ConnectionsBeyondTheLimitWaitForOneToEnd) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  const std::string request = EchoOf("x").SerializeAsString();
  for (size_t i = 0; i < GrpcServer::kConnectionsMax; ++i) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    channels.push_back(Channel());
    ASSERT_TRUE(CallBy(*channels.back(), context, "Echo", request).status.ok()) << i;
  }
  std::thread late([&] { EXPECT_TRUE(Call("Echo", EchoOf("late")).status.ok()); });
  channels.clear();
  late.join();
}

// --- Health.

TEST_F(GrpcServerTest, HealthIsThatOfAllServices) {
  EXPECT_EQ(Health(), HealthCheckResponse::NOT_SERVING);
  SetServing(true);
  EXPECT_EQ(Health(), HealthCheckResponse::SERVING);
  EXPECT_EQ(Health("pollux.rpc_test.Test"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Health("grpc.health.v1.Health"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Health("pollux.rpc_test.No"), HealthCheckResponse::SERVICE_UNKNOWN);
  EXPECT_EQ(Call("/grpc.health.v1.Health/Check", "\x0a\x7f").code(), grpc::INVALID_ARGUMENT);
}

TEST_F(GrpcServerTest, WhoWatchesHearsEachChangeAndTheEnd) {
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Watch",
                                         grpc::internal::RpcMethod::SERVER_STREAMING);
  grpc::ClientContext context, gone;
  context.set_wait_for_ready(true);
  const HealthCheckRequest request;
  using Factory = grpc::internal::ClientReaderFactory<HealthCheckResponse>;
  const std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader(
      Factory::Create(channel_.get(), method, &context, request));
  HealthCheckResponse response;
  const auto next = [&] {
    EXPECT_TRUE(reader->Read(&response));
    return response.status();
  };
  EXPECT_EQ(next(), HealthCheckResponse::NOT_SERVING);
  SetServing(true);
  EXPECT_EQ(next(), HealthCheckResponse::SERVING);
  {
    const std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> other(
        Factory::Create(channel_.get(), method, &gone, request));
    EXPECT_TRUE(other->Read(&response));
    gone.TryCancel();
    EXPECT_EQ(other->Finish().error_code(), grpc::CANCELLED);
  }
  SetServing(false);
  EXPECT_EQ(next(), HealthCheckResponse::NOT_SERVING);
  SetServing(true);
  EXPECT_EQ(next(), HealthCheckResponse::SERVING);
  StopGrpc();
  EXPECT_EQ(next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::UNAVAILABLE);
}

// --- Reflection.

class GrpcReflectionTest : public GrpcServerTest {
 protected:
  GrpcReflectionTest() : GrpcServerTest() {
    const grpc::internal::RpcMethod method(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        grpc::internal::RpcMethod::BIDI_STREAMING);
    context_.set_wait_for_ready(true);
    stream_.reset(grpc::internal::ClientReaderWriterFactory<
                  ServerReflectionRequest, ServerReflectionResponse>::Create(channel_.get(), method,
                                                                             &context_));
  }
  ServerReflectionResponse Ask(const ServerReflectionRequest& request) {
    ServerReflectionResponse response;
    EXPECT_TRUE(stream_->Write(request));
    EXPECT_TRUE(stream_->Read(&response));
    EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
    return response;
  }
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<ServerReflectionRequest, ServerReflectionResponse>>
      stream_;
};

TEST_F(GrpcReflectionTest, QuestionsAreAnsweredInOrder) {
  ServerReflectionRequest request;
  request.set_host("x");
  request.set_list_services("");
  const ServerReflectionResponse services = Ask(request);
  EXPECT_EQ(services.valid_host(), "x");
  std::vector<std::string> names;
  for (const auto& one : services.list_services_response().service()) names.push_back(one.name());
  EXPECT_THAT(names, testing::ElementsAre("grpc.health.v1.Health",
                                          "grpc.reflection.v1alpha.ServerReflection",
                                          "pollux.rpc_test.Test"));

  for (const char* symbol : {"pollux.rpc_test.Test", "pollux.rpc_test.Test.Echo",
                             "pollux.rpc_test.Point", "pollux.v1.rpc", "grpc.health.v1.Health"}) {
    request.set_file_containing_symbol(symbol);
    EXPECT_GT(Ask(request).file_descriptor_response().file_descriptor_proto_size(), 0) << symbol;
  }
  request.set_file_by_filename("test.proto");
  // With options.proto and descriptor.proto, which it imports.
  EXPECT_EQ(Ask(request).file_descriptor_response().file_descriptor_proto_size(), 3);
  request.mutable_file_containing_extension()->set_containing_type("google.protobuf.MethodOptions");
  request.mutable_file_containing_extension()->set_extension_number(51001);
  EXPECT_EQ(Ask(request).file_descriptor_response().file_descriptor_proto_size(), 2);
  request.set_all_extension_numbers_of_type("google.protobuf.MethodOptions");
  EXPECT_THAT(Ask(request).all_extension_numbers_response().extension_number(),
              testing::Contains(51001));
  stream_->WritesDone();
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(GrpcReflectionTest, WhatIsNotThereIsToldAndTheStreamGoesOn) {
  ServerReflectionRequest request;
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::INVALID_ARGUMENT);
  request.set_file_containing_symbol("pollux.No");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::NOT_FOUND);
  request.set_file_by_filename("../../etc/passwd");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::NOT_FOUND);
  request.mutable_file_containing_extension()->set_containing_type("no");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::NOT_FOUND);
  request.set_all_extension_numbers_of_type("no");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::NOT_FOUND);
  request.set_list_services("*");
  EXPECT_EQ(Ask(request).list_services_response().service_size(), 3);
  context_.TryCancel();
  EXPECT_EQ(stream_->Finish().error_code(), grpc::CANCELLED);
}

}  // namespace
}  // namespace pollux::rpc
