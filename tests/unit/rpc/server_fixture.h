#pragma once
#include <gtest/gtest.h>
#include <json/json.h>
#include <stdlib.h>

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/loop.h"
#include "rpc/client.h"
#include "rpc/dispatcher.h"
#include "rpc/json_rpc_server.h"
#include "test.pb.h"

namespace pollux::rpc {

// A server with the tests' own methods on a control loop with a thread of its own, as in the
// appliance, and callers with raw sockets.
class ServerFixture : public testing::Test {
 protected:
  static constexpr uint64_t kSoonNs = 20 * kNsPerSecond;  // Slower than that has hung.

  ServerFixture();
  ~ServerFixture() override;

  // Runs `step` on the loop, and waits for it.
  void OnLoop(std::function<void()> step);
  void StopServer(uint64_t drain_ns = kSoonNs);

  const std::string& path() const { return path_; }
  Client Connect() { return ConnectTo(path_); }
  static Client ConnectTo(const std::string& where);
  // Sends `text` on a new connection and returns the next value.
  std::string Ask(const std::string& text);
  static void Send(Client& client, const std::string& text);
  // The next value; "closed" or "nothing" when there is none.
  static std::string Receive(Client& client, uint64_t timeout_ns = kSoonNs);
  static Json::Value Parse(const std::string& text);
  // The code of an error; 0 of a result.
  static int CodeOf(const std::string& answer);

  static std::string Echo(const std::string& id, const std::string& text = "x");
  static std::string Wait(const std::string& id, int number = 0);
  // Lets call number `index` of "wait" answer, once there is one.
  void Release(size_t index);
  void ReleaseAll();
  size_t WaitingCalls();
  void AwaitWaitingCalls(size_t count);

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<JsonRpcServer> server_;
  int notifications_ = 0;  // Calls of "nothing".

 private:
  Task<Result<rpc_test::EchoResponse>> HandleEcho(rpc_test::EchoRequest request);
  Task<Result<rpc_test::EchoResponse>> HandleWait(rpc_test::EchoRequest request);
  Task<Result<rpc_test::CreateResponse>> HandleCreate(rpc_test::CreateRequest request);
  Task<Result<rpc_test::ListResponse>> HandleList(rpc_test::ListRequest request);
  Task<Result<rpc_test::TrueResponse>> HandleNothing(rpc_test::Empty request);
  Task<Result<rpc_test::MaybeResponse>> HandleMaybe(rpc_test::Empty request);
  Task<Result<rpc_test::TrueResponse>> HandleFail(rpc_test::FailRequest request);
  Task<Result<rpc_test::TrueResponse>> HandlePrepare(rpc_test::Empty request);
  Task<Result<rpc_test::EchoResponse>> HandleBig(rpc_test::BigRequest request);

  RealClock clock_;
  std::string directory_;
  std::string path_;
  std::deque<Completion<Status>> waiting_;
  size_t released_ = 0;
};

}  // namespace pollux::rpc
