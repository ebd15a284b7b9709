#include "server_fixture.h"

#include <future>
#include <optional>

namespace pollux::rpc {

using namespace rpc_test;

namespace {

class Step final : public pollux::Message {
 public:
  explicit Step(std::function<void()> step) : step_(std::move(step)) {}
  void Run() override {
    const auto done = done_;  // The waiter may be gone before set_value() returns.
    step_();
    done->set_value();
  }
  void Wait() { done_->get_future().wait(); }

 private:
  std::function<void()> step_;
  std::shared_ptr<std::promise<void>> done_ = std::make_shared<std::promise<void>>();
};

}  // namespace

ServerFixture::ServerFixture() {
  std::string pattern = testing::TempDir() + "pollux-rpc-XXXXXX";
  directory_ = mkdtemp(pattern.data());
  path_ = directory_ + "/s";
  Loop::Options options{.name = "control", .idle_after_ns = 0, .core = -1};
  loop_ = std::make_unique<Loop>(std::move(options), clock_, *MakeEpollWaiter());
  const ServiceDescriptor* service = EchoRequest::descriptor()->file()->FindServiceByName("Test");
  dispatcher_ = std::make_unique<Dispatcher>(nullptr, std::vector{service});
  dispatcher_->SetState(v1::STATE_RUNTIME);
  dispatcher_->Bind("echo", this, &ServerFixture::HandleEcho);
  dispatcher_->Bind("relaxed", this, &ServerFixture::HandleEcho);
  dispatcher_->Bind("wait", this, &ServerFixture::HandleWait);
  dispatcher_->Bind("create", this, &ServerFixture::HandleCreate);
  dispatcher_->Bind("list", this, &ServerFixture::HandleList);
  dispatcher_->Bind("nothing", this, &ServerFixture::HandleNothing);
  dispatcher_->Bind("maybe", this, &ServerFixture::HandleMaybe);
  dispatcher_->Bind("fail", this, &ServerFixture::HandleFail);
  dispatcher_->Bind("fail_plainly", this, &ServerFixture::HandleFail);
  dispatcher_->Bind("prepare", this, &ServerFixture::HandlePrepare);
  dispatcher_->Bind("big", this, &ServerFixture::HandleBig);
  server_ = std::make_unique<JsonRpcServer>(*loop_, *dispatcher_);
  loop_->StartThread();
  OnLoop([this] { EXPECT_TRUE(server_->ListenUnix({path_}).ok()); });
}

ServerFixture::~ServerFixture() {
  if (server_ != nullptr) StopServer();
  loop_->StopThread();
  std::filesystem::remove_all(directory_);
}

void ServerFixture::OnLoop(std::function<void()> step) {
  Step message(std::move(step));
  loop_->Post(message);
  message.Wait();
}

void ServerFixture::StopServer(uint64_t drain_ns) {
  std::promise<void> stopped;
  const auto stop = [&]() -> Task<void> {
    co_await server_->Stop(drain_ns);
    server_.reset();
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

Client ServerFixture::ConnectTo(const std::string& where) {
  Result<Client> client = Client::Connect(where, kSoonNs);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

void ServerFixture::Send(Client& client, const std::string& text) {
  const Status sent = client.Send(text, kSoonNs);
  EXPECT_TRUE(sent.ok()) << sent;
}

std::string ServerFixture::Receive(Client& client, uint64_t timeout_ns) {
  Result<std::string> value = client.Receive(timeout_ns);
  if (value.ok()) return *std::move(value);
  switch (ErrnoOf(value.status())) {
    case ECONNRESET:
      return "closed";
    case ETIMEDOUT:
      return "nothing";
    default:
      return value.status().ToString();
  }
}

std::string ServerFixture::Ask(const std::string& text) {
  Client client = Connect();
  Send(client, text);
  return Receive(client);
}

Json::Value ServerFixture::Parse(const std::string& text) {
  Json::Value value;
  std::string errors;
  const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
  EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors)) << text;
  return value;
}

int ServerFixture::CodeOf(const std::string& answer) {
  const Json::Value value = Parse(answer);
  return value.isObject() && value.isMember("error") ? value["error"]["code"].asInt() : 0;
}

std::string ServerFixture::Echo(const std::string& id, const std::string& text) {
  return R"({"id":)" + id + R"(,"method":"echo","params":{"text":")" + text + "\"}}";
}

std::string ServerFixture::Wait(const std::string& id, int number) {
  return R"({"id":)" + id + R"(,"method":"wait","params":{"number":)" + std::to_string(number) +
         "}}";
}

void ServerFixture::Release(size_t index) {
  AwaitWaitingCalls(index + 1);
  OnLoop([&] { waiting_[index].Set(OkStatus()); });
}

void ServerFixture::ReleaseAll() {
  for (size_t i = 0; i < waiting_.size(); ++i) {
    if (!waiting_[i].is_set()) waiting_[i].Set(OkStatus());
  }
}

size_t ServerFixture::WaitingCalls() {
  size_t count = 0;
  OnLoop([&] { count = waiting_.size(); });
  return count;
}

void ServerFixture::AwaitWaitingCalls(size_t count) {
  while (WaitingCalls() < count) sched_yield();
}

Task<Result<EchoResponse>> ServerFixture::HandleEcho(EchoRequest request) {
  EchoResponse response;
  response.set_text(request.text());
  response.set_number(request.number());
  co_return response;
}

Task<Result<EchoResponse>> ServerFixture::HandleWait(EchoRequest request) {
  Completion<Status>& released = waiting_.emplace_back();
  CO_RETURN_IF_ERROR(co_await released);
  EchoResponse response;
  response.set_number(request.number());
  co_return response;
}

Task<Result<CreateResponse>> ServerFixture::HandleCreate(CreateRequest request) {
  CreateResponse response;
  response.set_name(request.name() + "/" + std::to_string(request.size()));
  co_return response;
}

Task<Result<ListResponse>> ServerFixture::HandleList(ListRequest request) {
  ListResponse response;
  *response.mutable_names() = request.names();
  co_return response;
}

Task<Result<TrueResponse>> ServerFixture::HandleNothing(Empty) {
  ++notifications_;
  TrueResponse response;
  response.set_done(true);
  co_return response;
}

Task<Result<MaybeResponse>> ServerFixture::HandleMaybe(Empty) { co_return MaybeResponse(); }

Task<Result<TrueResponse>> ServerFixture::HandleFail(FailRequest request) {
  if (!request.field().empty()) {
    co_return ErrorOfField(request.error_number(), request.field(), "7", "is not good");
  }
  co_return ErrorOfErrno(request.error_number(), "it did not work");
}

Task<Result<TrueResponse>> ServerFixture::HandlePrepare(Empty) {
  TrueResponse response;
  response.set_done(true);
  co_return response;
}

Task<Result<EchoResponse>> ServerFixture::HandleBig(BigRequest request) {
  EchoResponse response;
  response.set_text(std::string(request.bytes(), 'x'));
  co_return response;
}

}  // namespace pollux::rpc
