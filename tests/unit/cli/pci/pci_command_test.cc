#include "cli/pci/pci_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <json/reader.h>
#include <json/value.h>

#include <memory>
#include <sstream>

#include "absl/strings/str_split.h"
#include "tests/unit/drivers/pci/sysfs_tree.h"

namespace pollux::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class PciCommandTest : public testing::Test {
 protected:
  PciCommandTest() { tree_.AddNvme(); }

  // The exit code; what was printed is in out_ and err_.
  int Run(const std::string& words) {
    std::ostringstream out, err;
    const int code = RunPci(absl::StrSplit(words, ' ', absl::SkipEmpty()), tree_, out, err);
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  pci::SysfsTree tree_;
  std::string out_, err_;
};

TEST_F(PciCommandTest, ListsWhatPolluxCanDrive) {
  tree_.AddFunction("0000:02:00.0", "0x020000");
  ASSERT_EQ(Run("list"), 0);
  EXPECT_THAT(out_,
              AllOf(StartsWith("ADDRESS       ID         CLASS  DRIVER  NODE  GROUP  DEVICES"),
                    HasSubstr("0000:01:00.0  1b36:0010  NVMe   nvme    -     7      nvme0n1"),
                    Not(HasSubstr("0000:02:00.0"))));
  ASSERT_EQ(Run("list --all"), 0);
  EXPECT_THAT(out_, HasSubstr("0000:02:00.0  1b36:0010  Ethernet"));
}

TEST_F(PciCommandTest, JsonHasAllThatIsKnown) {
  ASSERT_EQ(Run("list --json 01:00.0"), 0);
  const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
  Json::Value json;
  ASSERT_TRUE(reader->parse(out_.data(), out_.data() + out_.size(), &json, nullptr));
  EXPECT_EQ(json[0]["address"].asString(), "0000:01:00.0");
  EXPECT_EQ(json[0]["class"].asUInt(), 0x010802u);
  EXPECT_EQ(json[0]["block_devices"][0].asString(), "nvme0n1");
  EXPECT_EQ(json[0]["iommu_group"].asInt(), 7);
}

TEST_F(PciCommandTest, BindsUnbindsAndShowsTheResult) {
  ASSERT_EQ(Run("bind 0000:01:00.0"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("vfio-pci"));
  ASSERT_EQ(Run("unbind 0000:01:00.0"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("NVMe   -"));
}

TEST_F(PciCommandTest, AMountedDiskIsRefusedAndShown) {
  tree_.MakeFile("/proc/self/mountinfo", "36 35 259:1 / /data rw - ext4 /dev/nvme0n1p1 rw\n");
  tree_.MakeFile("/proc/mounts", "/dev/nvme0n1p1 /data ext4 rw 0 0\n");
  for (const char* command : {"bind", "unbind", "reset"}) {
    EXPECT_EQ(Run(std::string(command) + " 0000:01:00.0"), 1) << command;
    EXPECT_THAT(err_, AllOf(HasSubstr("pollux: pci "), HasSubstr("/data"))) << command;
  }
  EXPECT_TRUE(tree_.written.empty());
  ASSERT_EQ(Run("list"), 0);
  EXPECT_THAT(out_, HasSubstr("/data"));
}

TEST_F(PciCommandTest, WhatIsNotThereIsRefused) {
  EXPECT_EQ(Run("bind 0000:09:00.0"), 1);
  EXPECT_THAT(err_, HasSubstr("there is no PCI function 0000:09:00.0"));
  EXPECT_EQ(Run("list 0000:09:00.0"), 1);
  EXPECT_EQ(Run("bind --driver nowhere 0000:01:00.0"), 1);
  EXPECT_THAT(err_, HasSubstr("nowhere"));
}

TEST_F(PciCommandTest, MisuseIsSaid) {
  for (const char* words : {"", "list nonsense", "bind", "eat 0000:01:00.0", "list --none"}) {
    EXPECT_EQ(Run(words), 2) << words;
    EXPECT_THAT(err_, HasSubstr("More: pollux pci --help")) << words;
  }
  EXPECT_EQ(Run("--help"), 0);
  EXPECT_THAT(out_, HasSubstr("Usage: pollux pci COMMAND"));
}

TEST_F(PciCommandTest, AMachineWithoutDevicesSaysSo) {
  pci::SysfsTree empty;
  std::ostringstream out, err;
  EXPECT_EQ(RunPci({"list"}, empty, out, err), 0);
  EXPECT_EQ(out.str(), "(none that Pollux can drive; --all lists the others)\n");
}

}  // namespace
}  // namespace pollux::cli
