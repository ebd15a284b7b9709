#include "rpc/dispatcher.h"

#include <gtest/gtest.h>

#include "rpc/json_codec.h"
#include "test.pb.h"

namespace pollux::rpc {
namespace {

using rpc_test::CreateRequest;
using rpc_test::CreateResponse;
using rpc_test::EchoRequest;
using rpc_test::EchoResponse;

const ServiceDescriptor* TestService() {
  return EchoRequest::descriptor()->file()->FindServiceByName("Test");
}

// Writes down what it is asked, and answers when the test says so.
class Keeper final : public ChangeKeeper {
 public:
  Status BeforeChange(const Method& method, const Message& request,
                      std::unique_ptr<Message>& done) override {
    log.push_back("before " + method.name + " " + EncodeMessage(request));
    if (delete_pending) done = std::make_unique<CreateResponse>();
    return refusal;
  }
  Task<Status> Commit() override {
    log.push_back("commit");
    Completion<Status>& done = commits.emplace_back();
    co_return co_await done;
  }
  std::vector<std::string> log;
  Status refusal;
  bool delete_pending = false;
  std::deque<Completion<Status>> commits;
};

class DispatcherTest : public testing::Test {
 protected:
  DispatcherTest() {
    dispatcher_.Bind("create", this, &DispatcherTest::Create);
    dispatcher_.Bind("echo", this, &DispatcherTest::Echo);
    dispatcher_.Bind("wait", this, &DispatcherTest::Echo);
    dispatcher_.SetState(v1::STATE_RUNTIME);
  }
  Task<Result<CreateResponse>> Create(CreateRequest request) {
    keeper_.log.push_back("create " + request.name());
    Completion<Status>& done = creations_.emplace_back();
    CO_RETURN_IF_ERROR(co_await done);
    CreateResponse response;
    response.set_name(request.name());
    co_return response;
  }
  Task<Result<EchoResponse>> Echo(EchoRequest request, Caller caller) {
    EchoResponse response;
    response.set_text(request.text() + " from " + caller.name);
    co_return response;
  }

  Task<Result<std::unique_ptr<Message>>> Call(const std::string& method, const std::string& params,
                                              Caller caller = {.name = "me"}) {
    const Method& m = *dispatcher_.Find(method);
    std::unique_ptr<Message> request = dispatcher_.NewRequest(m);
    EXPECT_TRUE(DecodeParams(params, false, *request).ok());
    EXPECT_TRUE(dispatcher_.Complete(*request).ok());
    return dispatcher_.Call(m, std::move(request), std::move(caller));
  }
  // What Complete makes of params; or the error's field.
  std::string Completed(const std::string& params) {
    CreateRequest request;
    const Status decoded = DecodeParams(params, false, request);
    EXPECT_TRUE(decoded.ok()) << decoded;
    const Status status = dispatcher_.Complete(request);
    return status.ok() ? EncodeMessage(request) : DetailOf(status).field;
  }

  Keeper keeper_;
  Dispatcher dispatcher_{&keeper_, {TestService()}};
  std::deque<Completion<Status>> creations_;
};

TEST_F(DispatcherTest, KnowsTheMethodsOfItsServices) {
  const Method* create = dispatcher_.Find("create");
  ASSERT_NE(create, nullptr);
  EXPECT_EQ(create->subsystem, "tests");
  EXPECT_EQ(create->options.makes(), "thing");
  EXPECT_EQ(create->bare->name(), "name");
  EXPECT_EQ(dispatcher_.Find("nonsense"), nullptr);
  EXPECT_EQ(dispatcher_.methods().size(), 12u);
  EXPECT_EQ(dispatcher_.unbound().size(), 9u);
}

TEST_F(DispatcherTest, FindsAllServicesOfTheBuild) {
  const Dispatcher all(nullptr);
  EXPECT_NE(all.Find("spdk_get_version"), nullptr);
  EXPECT_EQ(all.Find("echo"), nullptr);
}

TEST_F(DispatcherTest, FillsInDefaultsEverywhere) {
  EXPECT_EQ(Completed(R"({"name":"a"})"),
            R"({"name":"a","size":512,"kind":"plain","mode":"all","points":[],"places":{}})");
  EXPECT_EQ(
      Completed(R"({"name":"a","size":0,"kind":"","mode":"none","points":[{"x":1},{"x":2,
                          "y":0}],"centre":{"x":3},"places":{"p":{"x":4}}})"),
      R"({"name":"a","size":0,"kind":"","mode":"none","points":[{"x":1,"y":7},{"x":2,"y":0}],)"
      R"("centre":{"x":3,"y":7},"places":{"p":{"x":4,"y":7}}})");
}

TEST_F(DispatcherTest, NamesTheRequiredFieldThatIsMissing) {
  EXPECT_EQ(Completed("{}"), "name");
  EXPECT_EQ(Completed(R"({"name":"a","points":[{"x":1},{}]})"), "points[1].x");
  EXPECT_EQ(Completed(R"({"name":"a","centre":{}})"), "centre.x");
}

TEST_F(DispatcherTest, RefusesWhatTheDefinitionDoesNotKnow) {
  CreateRequest request;
  request.set_name("a");
  request.add_points()->set_x(1);
  request.mutable_points(0)
      ->GetReflection()
      ->MutableUnknownFields(request.mutable_points(0))
      ->AddVarint(99, 1);
  EXPECT_EQ(DetailOf(dispatcher_.Complete(request)).field, "points[0]");

  CreateRequest strange;
  strange.set_name("a");
  strange.set_mode(static_cast<rpc_test::Mode>(42));
  EXPECT_EQ(DetailOf(dispatcher_.Complete(strange)).field, "mode");
}

TEST_F(DispatcherTest, CallsWithTheCaller) {
  auto call = Call("echo", R"({"text":"hello"})");
  call.Start();
  const auto answer = call.TakeResult();
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(static_cast<const EchoResponse&>(**answer).text(), "hello from me");
  EXPECT_TRUE(keeper_.log.empty());
}

TEST_F(DispatcherTest, RunsChangesOneAtATimeAndCommitsThemTogether) {
  auto first = Call("create", R"({"name":"a"})");
  auto second = Call("create", R"({"name":"b"})");
  first.Start();
  second.Start();
  EXPECT_EQ(creations_.size(), 1u);
  creations_[0].Set(OkStatus());
  EXPECT_EQ(creations_.size(), 2u) << "the turn is given back before the disk is awaited";
  creations_[1].Set(OkStatus());
  ASSERT_EQ(keeper_.commits.size(), 2u);
  EXPECT_FALSE(first.done() || second.done());
  keeper_.commits[0].Set(OkStatus());
  EXPECT_TRUE(first.done());
  EXPECT_FALSE(second.done());
  keeper_.commits[1].Set(ErrorOfErrno(ENOSPC, "the disk is full"));
  EXPECT_TRUE(first.TakeResult().ok());
  EXPECT_EQ(ErrnoOf(second.TakeResult().status()), ENOSPC);
}

TEST_F(DispatcherTest, DoesNotCommitWhatFailed) {
  auto call = Call("create", R"({"name":"a"})");
  call.Start();
  creations_[0].Set(Busy("no"));
  EXPECT_EQ(ErrnoOf(call.TakeResult().status()), EBUSY);
  EXPECT_TRUE(keeper_.commits.empty());
  EXPECT_FALSE(dispatcher_.turn().taken());
}

TEST_F(DispatcherTest, AChangeThatNobodyWaitsForDoesNotBegin) {
  std::atomic<bool> gone{false};
  auto first = Call("create", R"({"name":"a"})", {.name = "me", .gone = &gone});
  auto second = Call("create", R"({"name":"b"})", {.name = "me", .gone = &gone});
  first.Start();
  second.Start();
  gone = true;
  creations_[0].Set(OkStatus());
  EXPECT_EQ(ErrnoOf(second.TakeResult().status()), ECANCELED);
  EXPECT_EQ(creations_.size(), 1u);
  // What had begun goes to its end, and is kept.
  keeper_.commits[0].Set(OkStatus());
  EXPECT_TRUE(first.TakeResult().ok());
}

TEST_F(DispatcherTest, TheKeeperMayRefuse) {
  keeper_.refusal = AlreadyExists("the name is taken by a pending object");
  auto call = Call("create", R"({"name":"a"})");
  call.Start();
  EXPECT_EQ(ErrnoOf(call.TakeResult().status()), EEXIST);
  EXPECT_TRUE(creations_.empty());
}

TEST_F(DispatcherTest, TheKeeperMayAnswer) {
  keeper_.delete_pending = true;
  auto call = Call("create", R"({"name":"a"})");
  call.Start();
  EXPECT_TRUE(creations_.empty());
  keeper_.commits[0].Set(OkStatus());
  EXPECT_TRUE(call.TakeResult().ok());
}

TEST_F(DispatcherTest, AReplayIsNotKeptAgainAndMayBeMadeInAnyState) {
  dispatcher_.SetState(v1::STATE_STARTUP);
  auto call = Call("create", R"({"name":"a"})", {.name = "replay", .replay = true});
  call.Start();
  EXPECT_TRUE(dispatcher_.turn().taken());
  creations_[0].Set(OkStatus());
  EXPECT_TRUE(call.TakeResult().ok());
  EXPECT_EQ(keeper_.log, std::vector<std::string>{"create a"});
}

TEST_F(DispatcherTest, MethodsBelongToStates) {
  const Method& prepare = *dispatcher_.Find("prepare");
  const Method& create = *dispatcher_.Find("create");
  EXPECT_TRUE(dispatcher_.Callable(create));
  EXPECT_FALSE(dispatcher_.Callable(prepare));
  EXPECT_TRUE(IsWrongState(dispatcher_.CheckState(prepare)));
  dispatcher_.SetState(v1::STATE_STARTUP);
  EXPECT_FALSE(dispatcher_.Callable(create));
  EXPECT_TRUE(dispatcher_.Callable(prepare));
  EXPECT_TRUE(dispatcher_.Callable(*dispatcher_.Find("echo")));
  EXPECT_FALSE(IsWrongState(PermissionDenied("no")));
}

TEST_F(DispatcherTest, AMethodInTheWrongStateIsAnsweredWithAHint) {
  const Method& prepare = *dispatcher_.Find("prepare");
  const Method& create = *dispatcher_.Find("create");
  EXPECT_EQ(dispatcher_.CheckState(prepare).message(),
            "Method may only be called before the framework is initialized");
  dispatcher_.SetStateHints("be earlier", "be later");
  EXPECT_EQ(dispatcher_.CheckState(prepare).message(),
            "Method may only be called before the framework is initialized: be earlier");
  dispatcher_.SetState(v1::STATE_STARTUP);
  EXPECT_EQ(dispatcher_.CheckState(create).message(),
            "Method may only be called after the framework is initialized: be later");
}

TEST_F(DispatcherTest, NoHandlerRunsInTheWrongState) {
  dispatcher_.SetState(v1::STATE_STARTUP);
  for (const char* method : {"create", "wait"}) {
    auto call = Call(method, method == std::string("create") ? R"({"name":"a"})" : "{}");
    call.Start();
    EXPECT_TRUE(IsWrongState(call.TakeResult().status())) << method;
  }
  EXPECT_TRUE(keeper_.log.empty());
}

TEST_F(DispatcherTest, AChangeThatWaitedFindsTheStateChanged) {
  auto first = Call("create", R"({"name":"a"})");
  auto second = Call("create", R"({"name":"b"})");
  first.Start();
  second.Start();
  dispatcher_.SetState(v1::STATE_STARTUP);
  creations_[0].Set(OkStatus());
  EXPECT_TRUE(second.done());
  EXPECT_TRUE(IsWrongState(second.TakeResult().status()));
  keeper_.commits[0].Set(OkStatus());
}

TEST_F(DispatcherTest, AMethodWithoutHandlerSaysSo) {
  auto call = Call("unbound", "{}");
  call.Start();
  EXPECT_EQ(ErrnoOf(call.TakeResult().status()), ENOSYS);
}

}  // namespace
}  // namespace pollux::rpc
