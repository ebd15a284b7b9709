#include "cli/identify/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>

#include "core/spec/nvme_spec.h"

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Answers identify commands by CNS and log pages by their number; others are refused.
class FakeAdmin final : public AdminChannel {
 public:
  using Fill = std::function<void(const pollux_nvme_command& command, uint8_t* data)>;

  FakeAdmin() {
    identify_[nvme::cns::kController] = [](const auto&, uint8_t*) {};
    identify_[nvme::cns::kNamespace] = [](const auto&, uint8_t* data) { data[0] = 1; };
    SetNamespaces({1});
  }
  // The list continues after the number that it is asked for.
  void SetNamespaces(std::vector<uint32_t> nsids) {
    identify_[nvme::cns::kActiveNamespaces] = [nsids](const auto& command, uint8_t* data) {
      size_t at = 0;
      for (const uint32_t nsid : nsids) {
        if (nsid <= command.nsid || at == 4096) continue;
        std::memcpy(data + at, &nsid, sizeof(nsid));
        at += sizeof(nsid);
      }
    };
  }

  Status Run(const pollux_nvme_command& command, void* data, size_t bytes) override {
    const auto which = static_cast<uint8_t>(command.cdw10);
    const bool is_identify = command.opc == nvme::admin::kIdentify;
    const auto& answers = is_identify ? identify_ : logs_;
    asked_.push_back(absl::StrFormat("%s %02x", is_identify ? "identify" : "log", which));
    bytes_[asked_.back()] = bytes;
    const auto found = answers.find(which);
    if (found == answers.end()) return InternalError("Invalid Field in Command (002h)");
    std::memset(data, 0, bytes);
    found->second(command, static_cast<uint8_t*>(data));
    return OkStatus();
  }

  std::map<uint8_t, Fill> identify_, logs_;
  std::vector<std::string> asked_;
  std::map<std::string, size_t> bytes_;
};

class InspectTest : public testing::Test {
 protected:
  Section Inspect(const InspectOptions& options = {}) {
    Result<Section> report = cli::Inspect(admin_, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : Section("", "");
  }

  FakeAdmin admin_;
};

TEST_F(InspectTest, AsksForTheLogsThatAreThere) {
  Inspect();
  EXPECT_THAT(admin_.asked_, ElementsAre("identify 01", "identify 02", "identify 00", "identify 03",
                                         "log 02", "log 01", "log 03"));
  EXPECT_EQ(admin_.bytes_["log 01"], 64u);
  admin_.asked_.clear();
  admin_.identify_[nvme::cns::kController] = [](const auto&, uint8_t* data) {
    data[261] = 2;    // LPA: effects.
    data[262] = 255;  // ELPE: more than are asked for at once.
  };
  Inspect();
  EXPECT_EQ(admin_.asked_.back(), "log 05");
  EXPECT_EQ(admin_.bytes_["log 01"], 4096u);
}

TEST_F(InspectTest, WhatIsRefusedIsALine) {
  const Section report = Inspect();
  EXPECT_THAT(ForPeople(report), HasSubstr("Invalid Field in Command (002h)"));
}

TEST_F(InspectTest, AControllerThatDoesNotIdentifyItselfIsAnError) {
  admin_.identify_.erase(nvme::cns::kController);
  EXPECT_FALSE(cli::Inspect(admin_, {}).ok());
}

TEST_F(InspectTest, ANamespaceThatWasAskedForAndIsRefusedIsAnError) {
  admin_.identify_.erase(nvme::cns::kNamespace);
  EXPECT_TRUE(cli::Inspect(admin_, {}).ok());
  InspectOptions options;
  options.nsid = 7;
  EXPECT_FALSE(cli::Inspect(admin_, options).ok());
}

TEST_F(InspectTest, ANamespaceOfZeroesIsNotActive) {
  admin_.identify_[nvme::cns::kNamespace] = [](const auto&, uint8_t*) {};
  InspectOptions options;
  options.nsid = 7;
  EXPECT_EQ(cli::Inspect(admin_, options).status().message(), "namespace 7 is not active");
}

TEST_F(InspectTest, AListOfNamespacesMayHaveSeveralPages) {
  std::vector<uint32_t> nsids;
  for (uint32_t nsid = 1; nsid <= 1500; ++nsid) nsids.push_back(nsid);
  admin_.SetNamespaces(nsids);
  EXPECT_EQ(Inspect().FindSection("namespaces")->sections().size(), 1500u);
}

TEST_F(InspectTest, AListThatNeverEndsIsLeft) {
  admin_.identify_[nvme::cns::kActiveNamespaces] = [](const auto&, uint8_t* data) {
    for (size_t at = 0; at < 4096; at += 4) data[at] = 1;
  };
  EXPECT_EQ(Inspect().FindSection("namespaces")->sections().size(), 1u);
}

TEST_F(InspectTest, AZonedNamespaceIsAskedAboutItsZones) {
  admin_.identify_[nvme::cns::kNamespaceDescriptors] = [](const auto&, uint8_t* data) {
    data[0] = nvme::kNidtCsi, data[1] = 1, data[4] = nvme::kCsiZoned;
  };
  admin_.identify_[nvme::cns::kCsNamespace] = [](const auto& command, uint8_t*) {
    EXPECT_EQ(command.cdw11 >> 24, nvme::kCsiZoned);
  };
  const Section report = Inspect();
  const Section& ns = report.FindSection("namespaces")->sections().at(0);
  ASSERT_NE(ns.FindSection("zoned"), nullptr);
  EXPECT_NE(ns.FindSection("zoned")->Find("mor"), nullptr);
}

TEST_F(InspectTest, ReadingALogRetainsItsEvent) {
  admin_.logs_[nvme::log_page::kHealth] = [](const auto& command, uint8_t*) {
    EXPECT_EQ(command.cdw10 >> 15 & 1, 1u);
    EXPECT_EQ(command.nsid, nvme::kAllNamespaces);
  };
  InspectOptions options;
  options.logs = {LogPage::kHealth};
  EXPECT_NE(Inspect(options).FindSection("logs")->FindSection("smart")->Find("temperature"),
            nullptr);
}

TEST(ParseLogPages, TakesNamesOnceAndAll) {
  EXPECT_THAT(*ParseLogPages("error,smart,error"), ElementsAre(LogPage::kError, LogPage::kHealth));
  EXPECT_EQ(ParseLogPages("all")->size(), 7u);
  for (const char* text : {"", "smart,", "none", "smart error"}) {
    EXPECT_FALSE(ParseLogPages(text).ok()) << text;
  }
}

}  // namespace
}  // namespace pollux::cli
