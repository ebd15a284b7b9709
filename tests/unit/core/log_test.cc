#include "core/log.h"

#include <gtest/gtest.h>

namespace pollux {
namespace {

class LogTest : public testing::Test {
 protected:
  LogTest() { EnableLogTimestamps(false); }
  ~LogTest() override {
    SetLogLevel(LogLevel::kNotice);
    EnableLogTimestamps(true);
    EXPECT_TRUE(SetLogFlag("all", false).ok());
  }
  template <typename Step>
  std::string Logged(Step step) {
    testing::internal::CaptureStderr();
    step();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(LogTest, WritesLevelComponentAndText) {
  EXPECT_EQ(Logged([] { LogWarning("iscsi", "LUN %d is %s", 3, "pending"); }),
            "WARNING iscsi: LUN 3 is pending\n");
}

TEST_F(LogTest, StampsTheTime) {
  EnableLogTimestamps(true);
  const std::string line = Logged([] { LogError("core", "x"); });
  EXPECT_EQ(line.substr(10, 1) + line.substr(26, 2), "TZ ") << line;
}

TEST_F(LogTest, LeavesOutWhatIsBelowTheLevel) {
  EXPECT_EQ(Logged([] { LogInfo("core", "quiet"); }), "");
  SetLogLevel(LogLevel::kInfo);
  EXPECT_EQ(Logged([] { LogInfo("core", "loud"); }), "INFO core: loud\n");
  EXPECT_EQ(Logged([] { LogDebug("core", "quiet"); }), "");
  SetLogLevel(LogLevel::kError);
  EXPECT_EQ(Logged([] { LogWarning("core", "quiet"); }), "");
}

TEST_F(LogTest, AFlagOpensOneComponent) {
  ASSERT_TRUE(SetLogFlag("scsi", true).ok());
  EXPECT_EQ(Logged([] {
              LogDebug("scsi", "seen");
              LogDebug("iscsi", "not seen");
            }),
            "DEBUG scsi: seen\n");
  ASSERT_TRUE(SetLogFlag("scsi", false).ok());
  EXPECT_EQ(Logged([] { LogDebug("scsi", "not seen"); }), "");
}

TEST_F(LogTest, AllIsEveryFlag) {
  ASSERT_TRUE(SetLogFlag("all", true).ok());
  for (const LogFlag& flag : GetLogFlags()) EXPECT_TRUE(flag.set) << flag.component;
  ASSERT_TRUE(SetLogFlag("all", false).ok());
  for (const LogFlag& flag : GetLogFlags()) EXPECT_FALSE(flag.set) << flag.component;
}

TEST_F(LogTest, TheDriversAndTargetsHaveFlags) {
  for (const char* component : {"nvme", "pci", "vfio_user", "nvmf", "iscsi"}) {
    ASSERT_TRUE(SetLogFlag(component, true).ok()) << component;
    EXPECT_TRUE(LogEnabled(LogLevel::kDebug, component)) << component;
    ASSERT_TRUE(SetLogFlag(component, false).ok());
  }
}

TEST_F(LogTest, AFlagNobodyKnowsIsRefused) {
  const Status status = SetLogFlag("nonsense", true);
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  EXPECT_EQ(DetailOf(status).value, "nonsense");
}

TEST_F(LogTest, LevelsAreNamedAndParsed) {
  for (LogLevel level : {LogLevel::kError, LogLevel::kWarning, LogLevel::kNotice, LogLevel::kInfo,
                         LogLevel::kDebug}) {
    EXPECT_EQ(*ParseLogLevel(LogLevelName(level)), level);
  }
  EXPECT_EQ(*ParseLogLevel("warning"), LogLevel::kWarning);
  for (const char* wrong : {"", "WARN", "warning ", "9"}) {
    EXPECT_EQ(ErrnoOf(ParseLogLevel(wrong).status()), EINVAL) << wrong;
  }
}

TEST_F(LogTest, PrintableShowsNothingThatATerminalObeys) {
  EXPECT_EQ(Printable("iqn.2026-01.org:a b"), "iqn.2026-01.org:a b");
  EXPECT_EQ(Printable(std::string("\x1b[2J\n\0\x7f\xff\\", 9)), R"(\x1b[2J\x0a\x00\x7f\xff\x5c)");
  EXPECT_EQ(Printable(std::string(1000, 'a')), std::string(256, 'a') + "...");
  EXPECT_EQ(Printable(""), "");
}

}  // namespace
}  // namespace pollux
