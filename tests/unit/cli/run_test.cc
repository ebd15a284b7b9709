#include "cli/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <sstream>
#include <thread>

#include "core/check.h"
#include "core/unique_fd.h"

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Answers the requests of one connection, a line each, with the lines that the test gives. When it
// has none left it closes the connection.
class FakeServer {
 public:
  explicit FakeServer(std::vector<std::string> answers)
      : answers_(std::move(answers)), listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    char directory[] = "/tmp/pollux-cli-XXXXXX";
    CHECK(mkdtemp(directory) != nullptr);
    directory_ = directory;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof(address.sun_path) - 1);
    CHECK(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    CHECK(listen(listener_.get(), 1) == 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeServer() {
    Finish();
    std::filesystem::remove_all(directory_);
  }

  std::string path() const { return directory_ + "/s"; }
  // Waits for the end; what came, line by line.
  std::vector<std::string> Finish() {
    shutdown(listener_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    return requests_;
  }

 private:
  void Serve() {
    const UniqueFd peer(accept(listener_.get(), nullptr, nullptr));
    if (!peer.valid()) return;
    std::string received;
    for (const std::string& answer : answers_) {
      char buffer[4096];
      while (received.find('\n') == std::string::npos) {
        const ssize_t count = read(peer.get(), buffer, sizeof(buffer));
        if (count <= 0) return;
        received.append(buffer, static_cast<size_t>(count));
      }
      requests_.push_back(received.substr(0, received.find('\n')));
      received.erase(0, received.find('\n') + 1);
      const std::string line = answer + "\n";
      if (write(peer.get(), line.data(), line.size()) < 0) return;
    }
  }

  const std::vector<std::string> answers_;
  const UniqueFd listener_;
  std::string directory_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

class RunTest : public testing::Test {
 protected:
  ExitCode RunWords(Words words, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out, err;
    const ExitCode code = cli::Run(words, in, out, err, {.width = 80});
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  std::string out_, err_;
};

TEST_F(RunTest, AResultIsPrintedForPeople) {
  FakeServer server({R"({"jsonrpc":"2.0","id":1,"result":[{"name":"a","n":1}]})"});
  EXPECT_EQ(RunWords({"-s", server.path(), "bdev_get_bdevs", "a"}), kDone);
  EXPECT_EQ(out_, "name  n\na     1\n");
  EXPECT_EQ(err_, "");
  EXPECT_THAT(
      server.Finish(),
      ElementsAre(R"({"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":"a"}})"));
}

TEST_F(RunTest, JsonIsPrintedAsItCame) {
  FakeServer server({R"({"id":1,"result": [ {"name":"a"} ] ,"jsonrpc":"2.0"})"});
  EXPECT_EQ(RunWords({"bdev_get_bdevs", "--json", "-s", server.path()}), kDone);
  EXPECT_EQ(out_, "[ {\"name\":\"a\"} ]\n");
}

TEST_F(RunTest, ARefusalShowsFieldValueAndReason) {
  FakeServer server(
      {R"({"jsonrpc":"2.0","id":1,"error":{"code":-22,"message":"block_size '7': is odd",)"
       R"("data":{"field":"block_size","value":"7","reason":"is odd","errno":22}}})"});
  EXPECT_EQ(RunWords({"-s", server.path(), "bdev_malloc_create", "1", "7"}), kRefused);
  EXPECT_EQ(out_, "");
  EXPECT_EQ(err_,
            "pollux: bdev_malloc_create: block_size '7': is odd\n"
            "  code    -22\n"
            "  field   block_size\n"
            "  value   7\n"
            "  reason  is odd\n");
}

TEST_F(RunTest, ARefusalWithoutDataShowsItsMessage) {
  FakeServer server({R"({"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}})"});
  EXPECT_EQ(RunWords({"-s", server.path(), "spdk_get_version"}), kRefused);
  EXPECT_EQ(err_, "pollux: spdk_get_version: no\n  code    -32600\n");
}

TEST_F(RunTest, WhatDoesNotFitIsNotSent) {
  EXPECT_EQ(RunWords({"-s", "/nowhere", "bdev_null_create", "a"}), kMisused);
  EXPECT_THAT(err_, HasSubstr("num_blocks is missing"));
  EXPECT_THAT(err_, HasSubstr("Usage: pollux bdev_null_create NAME NUM_BLOCKS BLOCK_SIZE [FLAG]"));
}

TEST_F(RunTest, AnUnknownMethodNamesItsNeighbours) {
  EXPECT_EQ(RunWords({"bdev_nul_create"}), kMisused);
  EXPECT_THAT(err_, HasSubstr("did you mean bdev_null_create"));
  EXPECT_EQ(RunWords({"--nonsense"}), kMisused);
  EXPECT_EQ(RunWords({"-t"}), kMisused);
}

TEST_F(RunTest, HelpIsNoMisuseButNothingIs) {
  EXPECT_EQ(RunWords({"--help"}), kDone);
  EXPECT_THAT(out_, HasSubstr("Usage: pollux"));
  EXPECT_EQ(RunWords({"bdev_null_create", "--help"}), kDone);
  EXPECT_THAT(out_, HasSubstr("NUM_BLOCKS"));
  EXPECT_EQ(RunWords({}), kMisused);
  EXPECT_EQ(out_, "");
  EXPECT_THAT(err_, HasSubstr("Usage: pollux"));
}

TEST_F(RunTest, NobodyListeningIsNoConnection) {
  EXPECT_EQ(RunWords({"-s", "/nowhere/socket", "spdk_get_version"}), kNoConnection);
  EXPECT_THAT(err_, HasSubstr("/nowhere/socket"));
}

TEST_F(RunTest, AnAnswerThatIsNoneIsNoAnswer) {
  for (const char* answer :
       {"[]", "{}", R"({"id":2,"result":true})", R"({"id":1})", "nonsense", "7"}) {
    FakeServer server({answer});
    EXPECT_EQ(RunWords({"-s", server.path(), "spdk_get_version"}), kNoConnection) << answer;
    EXPECT_NE(err_, "") << answer;
  }
}

TEST_F(RunTest, AClosedConnectionIsNoAnswer) {
  FakeServer server({});
  EXPECT_EQ(RunWords({"-s", server.path(), "spdk_get_version"}), kNoConnection);
  EXPECT_NE(err_, "");
}

TEST_F(RunTest, CallsFromStandardInputShareAConnection) {
  FakeServer server({R"({"id":1,"result":"Null0"})", R"({"id":2,"result":true})"});
  EXPECT_EQ(RunWords({"-s", server.path(), "-"},
                     "# two calls\n\nbdev_null_create Null0 1 512\nlog_set_flag 'all' # all\n"),
            kDone);
  EXPECT_EQ(out_, "Null0\ntrue\n");
  EXPECT_EQ(server.Finish().size(), 2u);
}

TEST_F(RunTest, TheFirstCallThatFailsIsTheLast) {
  FakeServer server(
      {R"({"id":1,"error":{"code":-17,"message":"exists"}})", R"({"id":2,"result":true})"});
  EXPECT_EQ(RunWords({"-s", server.path(), "-"}, "spdk_get_version\nlog_set_flag all\n"), kRefused);
  EXPECT_THAT(err_, HasSubstr("line 1"));
  EXPECT_EQ(server.Finish().size(), 1u);
  EXPECT_EQ(RunWords({"-s", "/nowhere", "-"}, "\n'open\n"), kMisused);
  EXPECT_THAT(err_, HasSubstr("line 2"));
}

}  // namespace
}  // namespace pollux::cli
