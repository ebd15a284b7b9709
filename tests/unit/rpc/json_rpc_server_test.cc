#include "rpc/json_rpc_server.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "server_fixture.h"

namespace pollux::rpc {
namespace {

class JsonRpcServerTest : public ServerFixture {};

// --- Framing.

TEST_F(JsonRpcServerTest, AnswersOneValueAndALineEnd) {
  Client client = Connect();
  Send(client, R"({"jsonrpc":"2.0","id":1,"method":"echo","params":{"text":"hello","number":5}})");
  EXPECT_EQ(Receive(client), R"({"jsonrpc":"2.0","id":1,"result":{"text":"hello","number":5}})");
}

TEST_F(JsonRpcServerTest, WhiteSpaceBetweenRequestsIsFree) {
  Client client = Connect();
  Send(client, " \n\t" + Echo("1") + Echo("2") + "\r\n\n " + Echo("3") + "\n");
  for (const char* id : {"1", "2", "3"}) EXPECT_EQ(Parse(Receive(client))["id"].asString(), id);
  Send(client, std::string(3 * JsonRpcServer::kRequestBytesMax, ' ') + Echo("4"));
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 4);
}

TEST_F(JsonRpcServerTest, CuttingTheStreamMakesNoDifference) {
  const std::string stream = Echo("1", "é\\u00e9😀") + "[" + Echo("2") + "," + Echo("3") + "] " +
                             R"({ "method" : "nothing" , "id" : "a\"b" })";
  for (size_t cut = 1; cut < stream.size(); ++cut) {
    Client client = Connect();
    Send(client, stream.substr(0, cut));
    OnLoop([] {});
    Send(client, stream.substr(cut));
    EXPECT_EQ(Parse(Receive(client))["result"]["text"].asString(), "éé😀") << "cut at " << cut;
    EXPECT_EQ(Parse(Receive(client)).size(), 2u);
    EXPECT_EQ(Receive(client), R"({"jsonrpc":"2.0","id":"a\"b","result":true})");
  }
}

TEST_F(JsonRpcServerTest, AByteAtATimeIsEnough) {
  Client client = Connect();
  for (const char c : Echo("1") + Echo("2")) {
    Send(client, std::string(1, c));
    OnLoop([] {});
  }
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 1);
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 2);
}

TEST_F(JsonRpcServerTest, TenThousandPipelinedRequestsAreAllAnswered) {
  Client client = Connect();
  std::thread sender([&] {
    std::string all;
    for (int i = 0; i < 10000; ++i) all += Echo(std::to_string(i));
    Send(client, all);
  });
  std::set<int> ids;
  for (int i = 0; i < 10000; ++i) ids.insert(Parse(Receive(client))["id"].asInt());
  sender.join();
  EXPECT_EQ(ids.size(), 10000u);
}

TEST_F(JsonRpcServerTest, AnswersComeAsTheyAreReady) {
  Client client = Connect();
  Send(client, Wait("1", 11) + Wait("2", 22) + Echo("3"));
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 3);
  Release(1);
  EXPECT_EQ(Receive(client), R"({"jsonrpc":"2.0","id":2,"result":{"text":"","number":22}})");
  Release(0);
  EXPECT_EQ(Receive(client), R"({"jsonrpc":"2.0","id":1,"result":{"text":"","number":11}})");
}

// --- Request objects.

TEST_F(JsonRpcServerTest, TheIdComesBackAsItWasWritten) {
  for (const char* id :
       {"1", "-1", "1.5e3", "12345678901234567890123", "\"x\"", "\"\\u0041\\n\"", "\"\""}) {
    EXPECT_EQ(Ask(R"({"id": )" + std::string(id) + R"( ,"method":"nothing"})"),
              R"({"jsonrpc":"2.0","id":)" + std::string(id) + R"(,"result":true})");
  }
}

TEST_F(JsonRpcServerTest, WhatIsNoRequestIsRefusedByName) {
  struct Case {
    const char* request;
    const char* field;
    const char* id;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"({"id":1,"method":"echo","extra":1})", "extra", "1"},
           {R"({"id":1,"method":"echo","method":"echo"})", "method", "1"},
           {R"({"id":1,"method":"echo","id":2})", "id", "null"},
           {R"({"id":1,"method":"echo","params":{},"params":{}})", "params", "1"},
           {R"({"id":true,"method":"echo"})", "id", "null"},
           {R"({"id":{},"method":"echo"})", "id", "null"},
           {R"({"id":[1],"method":"echo"})", "id", "null"},
           {R"({"id":1,"jsonrpc":"1.0","method":"echo"})", "jsonrpc", "1"},
           {R"({"id":1,"jsonrpc":2.0,"method":"echo"})", "jsonrpc", "1"},
           {R"({"id":1,"jsonrpc":null,"method":"echo"})", "jsonrpc", "1"},
           {R"({"id":1})", "method", "1"},
           {R"({"id":1,"method":7})", "method", "1"},
           {R"({"id":1,"method":null})", "method", "1"},
           {R"({"id":1,"method":"echo","params":7})", "params", "1"},
           {R"({"id":1,"method":"echo","params":"x"})", "params", "1"},
           {"7 ", "request", "null"},
           {"\"echo\"", "request", "null"},
           {"null", "request", "null"},
           {"{}", "method", "null"},
       }) {
    const std::string answer = Ask(c.request);
    EXPECT_EQ(CodeOf(answer), -32600) << c.request << answer;
    EXPECT_EQ(Parse(answer)["error"]["data"]["field"].asString(), c.field) << c.request;
    EXPECT_EQ(answer.find(std::string(R"({"jsonrpc":"2.0","id":)") + c.id + ","), 0u) << answer;
  }
}

TEST_F(JsonRpcServerTest, TheConnectionOutlivesABadRequest) {
  Client client = Connect();
  Send(client,
       R"({"id":1} {"id":2,"method":"nonsense"} {"id":3,"method":"echo","params":[]})" + Echo("4"));
  EXPECT_EQ(CodeOf(Receive(client)), -32600);
  EXPECT_EQ(CodeOf(Receive(client)), -32601);
  EXPECT_EQ(CodeOf(Receive(client)), -32602);
  EXPECT_EQ(CodeOf(Receive(client)), 0);
}

TEST_F(JsonRpcServerTest, ParametersMayBeAbsentNullOrEmpty) {
  for (const char* params : {"", R"(,"params":null)", R"(,"params":{})"}) {
    EXPECT_EQ(Ask(R"({"id":1,"method":"nothing")" + std::string(params) + "}"),
              R"({"jsonrpc":"2.0","id":1,"result":true})");
  }
  EXPECT_EQ(Ask(R"({"id":1,"method":"nothing","params":{"a":1}})"),
            R"({"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"a '1': is unknown: the )"
            R"(method takes no parameters","data":{"field":"a","value":"1","reason":"is unknown: )"
            R"(the method takes no parameters","errno":22}}})");
  EXPECT_EQ(Parse(Ask(R"({"id":1,"method":"echo","params":["x"]})"))["error"]["data"]["reason"],
            "must be an object, not an array");
}

TEST_F(JsonRpcServerTest, ResultsMayBeBareOrNull) {
  EXPECT_EQ(Ask(R"({"id":1,"method":"create","params":{"name":"a"}})"),
            R"({"jsonrpc":"2.0","id":1,"result":"a/512"})");
  EXPECT_EQ(Ask(R"({"id":1,"method":"maybe"})"), R"({"jsonrpc":"2.0","id":1,"result":null})");
  EXPECT_EQ(Ask(R"({"id":1,"method":"list","params":{"names":["a","b"]}})"),
            R"({"jsonrpc":"2.0","id":1,"result":["a","b"]})");
}

// --- Errors.

TEST_F(JsonRpcServerTest, EachMethodHasItsOwnCodes) {
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"create"})")), -32603);
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"list","params":{"names":1}})")), -32700);
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"echo","params":{"text":1}})")), -32602);
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"relaxed","params":{"other":1}})")), 0);
  EXPECT_EQ(Ask(R"({"id":1,"method":"fail","params":{"error_number":19}})"),
            R"({"jsonrpc":"2.0","id":1,"error":{"code":-19,"message":"it did not work"}})");
  EXPECT_EQ(Ask(R"({"id":1,"method":"fail","params":{"error_number":22,"field":"size"}})"),
            R"({"jsonrpc":"2.0","id":1,"error":{"code":-22,"message":"size '7': is not good",)"
            R"("data":{"field":"size","value":"7","reason":"is not good","errno":22}}})");
  EXPECT_EQ(Ask(R"({"id":1,"method":"fail_plainly","params":{"error_number":19}})"),
            R"({"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"it did not work",)"
            R"("data":{"reason":"it did not work","errno":19}}})");
}

TEST_F(JsonRpcServerTest, TheStateIsCheckedBeforeTheParameters) {
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"prepare","params":{"nonsense":1}})")), -1);
  OnLoop([this] { dispatcher_->SetState(v1::STATE_STARTUP); });
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"prepare"})")), 0);
  EXPECT_EQ(CodeOf(Ask(R"({"id":1,"method":"create"})")), -1);
  EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0);
}

TEST_F(JsonRpcServerTest, ATextThatIsNoJsonIsAnsweredAndEndsTheConnection) {
  for (const char* bad : {"x", "{]", "{\"a\" 1}", "{\"id\":01}", "{\"id\":+1}", "\"\x01\"", "[1,]",
                          "{\"a\":\"\xff\"}", "// {}", "\"\\ud800\""}) {
    Client client = Connect();
    Send(client, Echo("1") + bad + Echo("2"));
    EXPECT_EQ(CodeOf(Receive(client)), 0);
    const std::string answer = Receive(client);
    EXPECT_EQ(CodeOf(answer), -32700) << bad;
    EXPECT_TRUE(Parse(answer)["id"].isNull());
    EXPECT_EQ(Receive(client), "closed") << bad;
  }
}

// --- Notifications and batches.

TEST_F(JsonRpcServerTest, ANotificationIsAnsweredOnlyWhenItFails) {
  Client client = Connect();
  Send(client,
       R"({"method":"nothing"} {"id":null,"method":"nothing"} {"method":"nonsense"})"
       R"({"id":null,"method":"fail","params":{"error_number":5}} {"method":"echo","x":1})");
  for (const int code : {-32601, -5, -32600}) {
    const std::string answer = Receive(client);
    EXPECT_EQ(CodeOf(answer), code);
    EXPECT_TRUE(Parse(answer)["id"].isNull());
  }
  OnLoop([this] { EXPECT_EQ(notifications_, 2); });
}

TEST_F(JsonRpcServerTest, ABatchHasOneAnswer) {
  EXPECT_EQ(Ask("[" + Echo("1", "a") + R"(,7,{"method":"nothing"},{"id":2,"method":"maybe"}])"),
            R"([{"jsonrpc":"2.0","id":1,"result":{"text":"a","number":0}},{"jsonrpc":"2.0",)"
            R"("id":null,"error":{"code":-32600,"message":"request '7': must be an object, not a )"
            R"(number","data":{"field":"request","value":"7","reason":"must be an object, not a )"
            R"(number","errno":22}}},{"jsonrpc":"2.0","id":2,"result":null}])");
}

TEST_F(JsonRpcServerTest, TheCallsOfABatchRunTogether) {
  Client client = Connect();
  Send(client, "[" + Wait("1") + "," + Wait("2") + "," + Wait("3") + "]" + Echo("4"));
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 4);
  for (const size_t index : {2u, 0u, 1u}) Release(index);
  const Json::Value answers = Parse(Receive(client));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0]["id"].asInt(), 3);
  EXPECT_EQ(answers[1]["id"].asInt(), 1);
  EXPECT_EQ(answers[2]["id"].asInt(), 2);
}

TEST_F(JsonRpcServerTest, AnEmptyBatchIsOneError) {
  EXPECT_EQ(CodeOf(Ask("[]")), -32600);
  const Json::Value nested = Parse(Ask("[[]]"));
  ASSERT_TRUE(nested.isArray());
  EXPECT_EQ(nested[0]["error"]["code"].asInt(), -32600);
}

TEST_F(JsonRpcServerTest, ABatchOfNotificationsIsNotAnswered) {
  Client client = Connect();
  Send(client, R"([{"method":"nothing"},{"method":"nothing","id":null}])" + Echo("1"));
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 1);
  Send(client, R"([{"method":"nothing"},{"method":"nonsense"}])");
  EXPECT_EQ(Parse(Receive(client)).size(), 1u);
}

// --- Limits.

TEST_F(JsonRpcServerTest, ARequestMayHave256KiB) {
  const std::string empty = Echo("1", "");
  const std::string text(JsonRpcServer::kRequestBytesMax - empty.size(), 'x');
  EXPECT_EQ(Parse(Ask(Echo("1", text)))["result"]["text"].asString().size(), text.size());

  Client client = Connect();
  // The server may close before all was sent.
  (void)client.Send(Echo("1", text + "x"), kSoonNs);
  EXPECT_EQ(CodeOf(Receive(client)), -32700);
  EXPECT_EQ(Receive(client), "closed");
}

TEST_F(JsonRpcServerTest, ManyGreatRequestsInARowAreTaken) {
  Client client = Connect();
  const std::string text(200 * 1024, 'x');
  std::thread sender([&] {
    for (int i = 0; i < 20; ++i) Send(client, Echo("1", text));
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Parse(Receive(client))["result"]["text"].asString().size(), text.size());
  }
  sender.join();
}

TEST_F(JsonRpcServerTest, ARequestMayHave8192Values) {
  const auto list = [](size_t names) {
    std::string all = R"({"id":1,"method":"list","params":{"names":["")";
    for (size_t i = 1; i < names; ++i) all += ",\"\"";
    return all + "]}}";
  };
  // The object, id, method, params, names: 5 values.
  EXPECT_EQ(Parse(Ask(list(8187)))["result"].size(), 8187u);
  Client client = Connect();
  Send(client, list(8188));
  EXPECT_EQ(CodeOf(Receive(client)), -32700);
  EXPECT_EQ(Receive(client), "closed");
}

TEST_F(JsonRpcServerTest, ValuesNestTo64Levels) {
  // The request's object is one level.
  const auto nested = [](size_t levels) {
    return R"({"id":1,"method":"relaxed","params":{"x":)" + std::string(levels - 2, '[') +
           std::string(levels - 2, ']') + "}}";
  };
  EXPECT_EQ(CodeOf(Ask(nested(64))), 0);
  Client client = Connect();
  Send(client, nested(65));
  EXPECT_EQ(CodeOf(Receive(client)), -32700);
  EXPECT_EQ(Receive(client), "closed");
}

TEST_F(JsonRpcServerTest, AnAnswerThatIsTooLargeIsAnError) {
  Client client = Connect();
  Send(client, R"({"id":1,"method":"big","params":{"bytes":40000000}})" + Echo("2"));
  const std::string answer = Receive(client);
  EXPECT_EQ(CodeOf(answer), -32603);
  EXPECT_EQ(Parse(answer)["id"].asInt(), 1);
  EXPECT_EQ(CodeOf(Receive(client)), 0);
  Send(client, R"({"id":1,"method":"big","params":{"bytes":33000000}})");
  EXPECT_EQ(Receive(client).size(), 33000000u + 36u);
}

TEST_F(JsonRpcServerTest, ReadingStopsAtTheLimitOfRunningCalls) {
  Client client = Connect();
  constexpr size_t kMax = JsonRpcServer::kRequestsInFlightMax;
  std::string all;
  for (size_t i = 0; i < kMax; ++i) all += Wait(std::to_string(i));
  Send(client, all + Echo("\"behind\""));
  AwaitWaitingCalls(kMax);
  OnLoop([] {});
  EXPECT_EQ(Receive(client, 0), "nothing");
  // One that is done makes room for the next.
  Release(5);
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 5);
  EXPECT_EQ(Parse(Receive(client))["id"].asString(), "behind");
  EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0) << "others do not notice";
}

TEST_F(JsonRpcServerTest, ACallThatNeedsNoAnswerMakesRoomToo) {
  Client client = Connect();
  std::string all;
  for (size_t i = 0; i < JsonRpcServer::kRequestsInFlightMax; ++i) all += Wait("null");
  Send(client, all + Echo("\"behind\""));
  Release(JsonRpcServer::kRequestsInFlightMax - 1);
  EXPECT_EQ(Parse(Receive(client))["id"].asString(), "behind");
}

TEST_F(JsonRpcServerTest, ASlowReaderIsNotReadFromAndLosesNothing) {
  Client client = Connect();
  // Far more answers than the sockets hold; not one is read until all requests that go are sent.
  constexpr int kCalls = 300;
  std::string all;
  for (int i = 0; i < kCalls; ++i) {
    all += R"({"id":)" + std::to_string(i) + R"(,"method":"big","params":{"bytes":100000}})";
  }
  Send(client, all);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0) << "others do not notice";
  for (int i = 0; i < kCalls; ++i) {
    const std::string answer = Receive(client);
    ASSERT_EQ(answer.size(), 100000u + 34u + std::to_string(i).size() + 1u) << i;
  }
}

TEST_F(JsonRpcServerTest, ACallerThatNeverReadsIsLetGo) {
  Client client = Connect();
  // Calls that run already may answer more than may wait.
  std::string all;
  for (int i = 0; i < 4; ++i) all += R"({"id":1,"method":"big","params":{"bytes":33000000}},)";
  Send(client, "[" + all + "{}]");
  (void)Receive(client);
  EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0);
}

TEST_F(JsonRpcServerTest, TheSixtyFifthConnectionWaits) {
  std::vector<Client> clients;
  for (size_t i = 0; i < JsonRpcServer::kConnectionsMax; ++i) {
    clients.push_back(Connect());
    Send(clients.back(), Echo("1"));
    EXPECT_EQ(CodeOf(Receive(clients.back())), 0);
  }
  Client waiting = Connect();
  Send(waiting, Echo("65"));
  OnLoop([] {});
  EXPECT_EQ(Receive(waiting, 0), "nothing");
  clients.pop_back();
  EXPECT_EQ(Parse(Receive(waiting))["id"].asInt(), 65);
}

// --- Callers that vanish.

TEST_F(JsonRpcServerTest, ACallerMayVanishAtEveryByte) {
  const std::string stream = Wait("1") + "[" + Echo("2") + "," + Wait("3") + "]" + Echo("4");
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    Client client = Connect();
    Send(client, stream.substr(0, cut));
  }
  OnLoop([this] { ReleaseAll(); });
  EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0);
}

TEST_F(JsonRpcServerTest, TheCallOfAVanishedCallerRunsOn) {
  {
    Client client = Connect();
    Send(client, Wait("1") + "[" + Wait("2") + "," + Wait("3") + "]");
    AwaitWaitingCalls(3);
  }
  EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0);
  Release(1);
  Release(0);
  Release(2);
  EXPECT_EQ(CodeOf(Ask(Echo("1"))), 0);
}

// --- Listening, pausing, stopping.

TEST_F(JsonRpcServerTest, SpeaksTcpOnLoopback) {
  Result<SocketAddress> address = SocketAddress();
  OnLoop([&] { address = server_->ListenTcp(*SocketAddress::Parse("127.0.0.1", 0)); });
  ASSERT_TRUE(address.ok());
  Client client = ConnectTo(address->ToString());
  Send(client, Echo("1"));
  EXPECT_EQ(CodeOf(Receive(client)), 0);
}

TEST_F(JsonRpcServerTest, ListensNowhereElse) {
  OnLoop([&] {
    const auto address = server_->ListenTcp(*SocketAddress::Parse("0.0.0.0", 0));
    EXPECT_EQ(ErrnoOf(address.status()), EINVAL);
    EXPECT_EQ(ErrnoOf(server_->ListenUnix({path()})), EADDRINUSE);
  });
}

TEST_F(JsonRpcServerTest, TheSocketIsForItsOwnerAlone) {
  struct stat file;
  ASSERT_EQ(stat(path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST_F(JsonRpcServerTest, AnotherUserIsRefusedByCredentials) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  std::filesystem::permissions(path(), std::filesystem::perms::all);
  std::filesystem::permissions(std::filesystem::path(path()).parent_path(),
                               std::filesystem::perms::all);
  int answer[2];
  ASSERT_EQ(pipe(answer), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setuid(65534) != 0) _exit(1);
    auto client = Client::Connect(path(), kSoonNs);
    const auto line = client.ok() ? client->Receive(kSoonNs) : client.status();
    const std::string text = line.ok() ? *line : line.status().ToString();
    if (write(answer[1], text.data(), text.size()) < 0) _exit(1);
    _exit(0);
  }
  close(answer[1]);
  char text[1024];
  const ssize_t length = read(answer[0], text, sizeof(text));
  close(answer[0]);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_GT(length, 0);
  EXPECT_EQ(CodeOf(std::string(text, static_cast<size_t>(length))), -EACCES);
}

TEST_F(JsonRpcServerTest, RequestsWaitWhileItIsPaused) {
  Client before = Connect();
  Send(before, Echo("1"));
  EXPECT_EQ(CodeOf(Receive(before)), 0);
  OnLoop([this] { server_->Pause(); });
  Client during = Connect();
  Send(before, Echo("2"));
  Send(during, Echo("3"));
  for (int i = 0; i < 3; ++i) OnLoop([] {});
  EXPECT_EQ(Receive(before, 0), "nothing");
  EXPECT_EQ(Receive(during, 0), "nothing");
  OnLoop([this] { server_->Resume(); });
  EXPECT_EQ(Parse(Receive(before))["id"].asInt(), 2);
  EXPECT_EQ(Parse(Receive(during))["id"].asInt(), 3);
}

TEST_F(JsonRpcServerTest, AnswersOfRunningCallsLeaveWhileItIsPaused) {
  Client client = Connect();
  Send(client, Wait("1") + Wait("2"));
  AwaitWaitingCalls(2);
  OnLoop([this] { server_->Pause(); });
  Release(0);
  EXPECT_EQ(Parse(Receive(client))["id"].asInt(), 1);
}

TEST_F(JsonRpcServerTest, StopAnswersWhatRunsAndCloses) {
  Client idle = Connect();
  Client busy = Connect();
  Send(busy, Wait("1", 5));
  AwaitWaitingCalls(1);
  StopServer();
  EXPECT_EQ(Parse(Receive(busy))["result"]["number"].asInt(), 5);
  EXPECT_EQ(Receive(busy), "closed");
  EXPECT_EQ(Receive(idle), "closed");
  EXPECT_EQ(ErrnoOf(Client::Connect(path(), kSoonNs).status()), ENOENT);
}

TEST_F(JsonRpcServerTest, StopWaitsNoLongerThanTheLastCall) {
  Client client = Connect();
  Send(client, Wait("null"));
  AwaitWaitingCalls(1);
  StopServer(/*drain_ns=*/3600 * kNsPerSecond);  // It would not end in time.
  EXPECT_EQ(Receive(client), "closed");
}

TEST_F(JsonRpcServerTest, StopDoesNotWaitForOneWhoDoesNotRead) {
  Client client = Connect();
  Send(client, R"({"id":1,"method":"big","params":{"bytes":10000000}})");
  OnLoop([] {});
  StopServer(/*drain_ns=*/kNsPerMs);
  EXPECT_EQ(server_, nullptr);
}

TEST_F(JsonRpcServerTest, TheClientSaysWhatIsWrong) {
  EXPECT_EQ(ErrnoOf(Client::Connect(path() + "-not", kSoonNs).status()), ENOENT);
  EXPECT_EQ(ErrnoOf(Client::Connect(std::string(200, 'x'), kSoonNs).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(Client::Connect("127.0.0.1:1", kSoonNs).status()), ECONNREFUSED);
  Client client = Connect();
  EXPECT_EQ(ErrnoOf(client.Receive(0).status()), ETIMEDOUT);
}

}  // namespace
}  // namespace pollux::rpc
