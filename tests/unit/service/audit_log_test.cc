#include "service/audit_log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "rpc/access_rules.h"

namespace pollux::service {
namespace {

class AuditLogTest : public testing::Test {
 protected:
  AuditLogTest() {
    char name[] = "/tmp/pollux-audit-XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/audit.log";
  }
  ~AuditLogTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<AuditLog> Open(off_t bytes_max = AuditLog::kFileBytesMax) {
    Result<std::unique_ptr<AuditLog>> log = AuditLog::Open(path_, bytes_max);
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *std::move(log) : nullptr;
  }
  static std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string directory_, path_;
};

TEST_F(AuditLogTest, ALineSaysWhoWhatAndHowItEnded) {
  auto log = Open();
  log->OnCallEnded({.who = "me", .method = "m", .params = "{\"a\":1}"}, OkStatus());
  log->OnCallEnded({.who = "me", .method = "m", .params = ""}, NotFound("no \"x\""));
  log->OnCallEnded({.who = "you", .method = "m", .params = ""}, rpc::AccessDenied("not you"));
  log->OnCallerRefused("them", InvalidArgument("expired"));
  log.reset();
  std::string text = Read(path_);
  for (const char* part :
       {"\"who\":\"me\",\"method\":\"m\",\"params\":{\"a\":1},\"result\":\"ok\"}\n",
        "\"result\":\"failed\",\"errno\":2,\"reason\":\"no \\\"x\\\"\"}\n",
        "\"who\":\"you\",\"method\":\"m\",\"result\":\"refused\",\"errno\":13",
        "\"who\":\"them\",\"result\":\"refused\",\"errno\":13,\"reason\":\"expired\"}\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
}

TEST_F(AuditLogTest, TheFileIsOursAlone) {
  auto log = Open();
  struct stat found;
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(AuditLogTest, ALinkIsNotFollowed) {
  std::filesystem::create_symlink(directory_ + "/elsewhere", path_);
  EXPECT_FALSE(AuditLog::Open(path_).ok());
}

TEST_F(AuditLogTest, LongParametersAreSaidToBeSo) {
  auto log = Open();
  const std::string params = "{\"a\":\"" + std::string(AuditLog::kParamsBytesMax, 'x') + "\"}";
  log->OnCallEnded({.who = "me", .method = "m", .params = params}, OkStatus());
  log.reset();
  EXPECT_NE(Read(path_).find(absl::StrFormat("\"params_bytes\":%d", params.size())),
            std::string::npos);
  EXPECT_LT(Read(path_).size(), 1000u);
}

TEST_F(AuditLogTest, AFullFileIsMovedAside) {
  constexpr off_t kBytesMax = 4096;
  for (int i = 0; i < 100; ++i) {
    auto log = Open(kBytesMax);
    log->OnCallEnded({.who = "me", .method = absl::StrFormat("m%d", i), .params = ""}, OkStatus());
  }
  EXPECT_NE(Read(path_).find("\"m99\""), std::string::npos);
  EXPECT_NE(Read(path_ + ".1").find("\"m0\""), std::string::npos);
  EXPECT_LT(std::filesystem::file_size(path_ + ".1"), kBytesMax + 200u);
}

TEST_F(AuditLogTest, WhatCannotBeWrittenIsComplainedOf) {
  path_ = "/dev/full";
  auto log = Open();
  log->OnCallerRefused("them", InvalidArgument("x"));
  while (log->complaint().empty()) usleep(1000);
  EXPECT_NE(log->complaint().find("/dev/full"), std::string::npos);
}

}  // namespace
}  // namespace pollux::service
