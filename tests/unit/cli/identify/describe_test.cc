#include "cli/identify/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <json/reader.h>
#include <json/value.h>

#include <cstring>
#include <memory>
#include <random>

namespace pollux::cli {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

Json::Value ToJson(const Section& report) {
  JsonWriter writer;
  WriteJson(report, writer);
  const std::string text = writer.Take();
  const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
  Json::Value value;
  std::string errors;
  EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors))
      << errors << text;
  return value;
}

// What everything that is printed must be: lines of printable ASCII.
void ExpectClean(const std::string& text) {
  for (const char c : text) {
    ASSERT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << static_cast<int>(c);
  }
}

template <typename Data>
Data AllOnes() {
  Data data;
  std::memset(static_cast<void*>(&data), 0xff, sizeof(data));
  return data;
}

class ControllerReport : public testing::Test {
 protected:
  std::string Text() {
    Describe();
    return ForPeople(report_);
  }
  Json::Value Json() {
    Describe();
    return ToJson(report_);
  }
  void Describe() {
    report_ = Section("", "Controller");
    DescribeController(id_, report_);
  }

  nvme::IdentifyController id_{};
  Section report_{"", ""};
};

TEST_F(ControllerReport, HasTheNamesAndTextsOfTheSpecification) {
  id_.vid = 0x1b36;
  std::memcpy(id_.sn, "SN-1                ", sizeof(id_.sn));
  id_.ieee[0] = 0x00, id_.ieee[1] = 0x54, id_.ieee[2] = 0x52;
  id_.mdts = 5;
  id_.ver = 0x20000;
  id_.oacs = nvme::oacs::kFormat | nvme::oacs::kDoorbellBufferConfig;
  id_.wctemp = 343;
  id_.aerl = 3;
  EXPECT_THAT(
      Text(),
      AllOf(HasSubstr("  vid         0x1b36                            PCI Vendor ID\n"),
            HasSubstr("  sn          SN-1                              Serial Number\n"),
            HasSubstr("525400"), HasSubstr("5 (128 KiB)"), HasSubstr("Version: 2.0.0"),
            HasSubstr("0x0102 "), HasSubstr("            [1]       0x1  Format NVM: supported\n"),
            HasSubstr("[0]       0x0  Security Send and Security Receive: not supported\n"),
            HasSubstr("343 K (70 C)"), HasSubstr("3 (0's based)")));
  const Json::Value json = Json();
  EXPECT_EQ(json["vid"].asUInt(), 0x1b36u);
  EXPECT_EQ(json["sn"].asString(), "SN-1");
  EXPECT_EQ(json["oacs"].asUInt(), 0x102u);
  EXPECT_EQ(json["psd"].size(), 1u);
}

TEST_F(ControllerReport, BitsThatNobodyNamedAreShownWhenSet) {
  id_.fuses = 0x8001;
  EXPECT_THAT(Text(), HasSubstr("[15]      0x1  reserved, and set\n"));
}

TEST_F(ControllerReport, PowerStatesHaveTheirScales) {
  id_.npss = 1;
  id_.psd[0].mp = 2500;
  id_.psd[1].mp = 50;
  id_.psd[1].flags3 = 3;
  EXPECT_THAT(Text(), AllOf(HasSubstr("mp 25.00 W  operational"),
                            HasSubstr("mp 0.0050 W  non-operational")));
}

TEST_F(ControllerReport, NumbersOf128BitsAreExact) {
  std::memset(id_.tnvmcap, 0xff, sizeof(id_.tnvmcap));
  EXPECT_THAT(Text(), HasSubstr("340282366920938463463374607431768211455"));
}

TEST_F(ControllerReport, AllOnesIsBounded) {
  id_ = AllOnes<nvme::IdentifyController>();
  const std::string text = Text();
  ExpectClean(text);
  EXPECT_THAT(text, AllOf(HasSubstr("255 (2^255 pages)"), HasSubstr("\\xff\\xff")));
  EXPECT_EQ(Json()["psd"].size(), 32u);
}

TEST_F(ControllerReport, AnyBytesMakeAReport) {
  std::mt19937 random(1);
  for (int round = 0; round < 100; ++round) {
    auto* bytes = reinterpret_cast<unsigned char*>(&id_);
    for (size_t i = 0; i < sizeof(id_); ++i) bytes[i] = static_cast<unsigned char>(random());
    ExpectClean(Text());
    Json();
  }
}

TEST_F(ControllerReport, NoNameOccursTwice) {
  Describe();
  for (const ReportField& field : report_.fields()) EXPECT_EQ(report_.Find(field.name), &field);
}

class NamespaceReport : public testing::Test {
 protected:
  NamespaceReport() {
    id_.nsze = 2048;
    id_.lbaf[0].lbads = 9;
  }
  std::string Text() {
    report_ = Section("", "Namespace");
    DescribeNamespace(id_, report_);
    return ForPeople(report_);
  }

  nvme::IdentifyNamespace id_{};
  Section report_{"", ""};
};

TEST_F(NamespaceReport, SizesFollowTheFormatInUse) {
  id_.nlbaf = 1;
  id_.flbas = 1;
  id_.lbaf[1].lbads = 12;
  id_.lbaf[1].ms = 8;
  EXPECT_THAT(Text(), AllOf(HasSubstr("nsze        2048 (8 MiB)"),
                            HasSubstr("lbaf 1      lbads 12 4 KiB          ms 8     rp 0 (best)  "
                                      "in use\n"),
                            HasSubstr("lbaf 0      lbads 9  512 bytes")));
}

TEST_F(NamespaceReport, MoreThan16FormatsUseTheUpperBits) {
  id_.nlbaf = 17;
  id_.flbas = 0x21;  // 17: bits 6:5 are its upper ones.
  id_.lbaf[17].lbads = 12;
  EXPECT_THAT(Text(), AllOf(HasSubstr("2048 (8 MiB)"), HasSubstr("lbaf 17")));
}

TEST_F(NamespaceReport, AFormatThatIsNotThereGivesNoSize) {
  id_.flbas = 7;
  EXPECT_THAT(Text(), AllOf(HasSubstr("2048 blocks"), Not(HasSubstr("  in use"))));
}

TEST_F(NamespaceReport, AllOnesIsBounded) {
  id_ = AllOnes<nvme::IdentifyNamespace>();
  ExpectClean(Text());
  EXPECT_EQ(ToJson(report_)["lbaf"].size(), 64u);
  EXPECT_EQ(ToJson(report_)["nsze"].asUInt64(), UINT64_MAX);
}

TEST_F(NamespaceReport, NoNameOccursTwice) {
  Text();
  for (const ReportField& field : report_.fields()) EXPECT_EQ(report_.Find(field.name), &field);
}

TEST(ZonedReport, HasAsManyFormatsAsTheNamespace) {
  auto id = AllOnes<nvme::IdentifyZonedNamespace>();
  Section report("", "Zoned");
  DescribeZoned(id, 2, report);
  EXPECT_THAT(ForPeople(report), HasSubstr("4294967295 (no limit)"));
  EXPECT_EQ(ToJson(report)["lbafe"].size(), 2u);
  Section many("", "Zoned");
  DescribeZoned(id, 256, many);
  EXPECT_EQ(ToJson(many)["lbafe"].size(), 64u);
}

// What DescribeIdentifiers() makes of a list.
std::string Identifiers(std::vector<uint8_t> list) {
  Section report("", "Identifiers");
  DescribeIdentifiers(list, report);
  ToJson(report);
  return ForPeople(report);
}

TEST(IdentifiersReport, KnowsItsKinds) {
  std::vector<uint8_t> list = {3, 16, 0, 0};
  for (uint8_t i = 0; i < 16; ++i) list.push_back(i);
  list.insert(list.end(), {4, 1, 0, 0, 2, 0, 0, 0, 0});
  EXPECT_THAT(Identifiers(list), AllOf(HasSubstr("uuid   00010203-0405-0607-0809-0a0b0c0d0e0f\n"),
                                       HasSubstr("csi    02\n")));
}

TEST(IdentifiersReport, AListThatIsCutEndsThere) {
  for (size_t bytes = 0; bytes < 24; ++bytes) Identifiers(std::vector<uint8_t>(bytes, 0xff));
  EXPECT_EQ(Identifiers({1, 8, 0, 0, 1, 2, 3}), "Identifiers\n");
  EXPECT_EQ(Identifiers({1, 0, 0, 0, 1, 2, 3}), "Identifiers\n");
}

TEST(HealthReport, HasUnitsAndWarnings) {
  nvme::HealthLog log{};
  log.critical_warning = 0x09;
  log.temperature = 300;
  log.data_units_read[0] = 2;
  Section report("", "Health");
  DescribeHealth(log, report);
  EXPECT_THAT(ForPeople(report),
              AllOf(HasSubstr("Media: read only"), HasSubstr("below its threshold"),
                    HasSubstr("300 K (27 C)"), HasSubstr("1000 KiB")));
  Section hostile("", "Health");
  DescribeHealth(AllOnes<nvme::HealthLog>(), hostile);
  ExpectClean(ForPeople(hostile));
  for (const ReportField& field : hostile.fields()) EXPECT_EQ(hostile.Find(field.name), &field);
}

TEST(ErrorsReport, ShowsEntriesThatWereMade) {
  nvme::ErrorLogEntry entries[3] = {};
  entries[1].error_count = 7;
  entries[1].status = 0x281 << 1 | 1;
  Section report("", "Errors");
  DescribeErrors(entries, report);
  ASSERT_EQ(report.sections().size(), 1u);
  EXPECT_EQ(report.sections()[0].Find("status_field")->json, "641");
  EXPECT_THAT(ForPeople(report), HasSubstr("Unrecovered Read Error"));
}

TEST(FirmwareReport, ShowsSlotsThatAreFilled) {
  nvme::FirmwareSlotLog log{};
  log.afi = 0x21;
  std::memcpy(log.frs[1], "2.0-rc\n1", 8);
  Section report("", "Firmware");
  DescribeFirmware(log, report);
  EXPECT_THAT(ForPeople(report),
              AllOf(HasSubstr("frs2        2.0-rc\\x0a1"),
                    HasSubstr("[6:4]     0x2  Slot that the next reset"), Not(HasSubstr("frs1"))));
}

TEST(EffectsReport, ListsSupportedCommandsByName) {
  EffectsLog log{};
  log.acs[0x80] = 0x00020003;
  log.iocs[0x02] = 1;
  log.iocs[0xc5] = 1 | 1 << 19;
  Section report("", "Effects");
  DescribeEffects(log, report);
  EXPECT_THAT(ForPeople(report),
              AllOf(HasSubstr("Format NVM"), HasSubstr("alone in the controller"),
                    HasSubstr("Read                                 no effects"),
                    HasSubstr("Vendor specific or unknown")));
  EXPECT_EQ(ToJson(report)["iocs"].size(), 2u);
  Section all("", "Effects");
  DescribeEffects(AllOnes<EffectsLog>(), all);
  EXPECT_EQ(ToJson(all)["acs"].size(), 256u);
}

TEST(SelfTestReport, KnowsItsCodes) {
  SelfTestLog log{};
  for (SelfTestResult& result : log.results) result.status = 0xf;
  log.current_operation = 0xe;
  log.results[0].status = 0x27;
  log.results[0].valid = 0xf;
  Section report("", "Self-test");
  DescribeSelfTest(log, report);
  EXPECT_THAT(ForPeople(report), AllOf(HasSubstr("Operation: vendor specific"),
                                       HasSubstr("failed, see the segment number"),
                                       HasSubstr("Code: extended self-test")));
  EXPECT_EQ(ToJson(report)["results"].size(), 1u);
  EXPECT_EQ(report.FindSection("results")->sections()[0].Find("status")->bits.size(), 2u);
}

TEST(SanitizeReport, SaysHowFar) {
  SanitizeLog log{};
  log.sprog = 32768;
  log.sstat = 2;
  log.eto = UINT32_MAX;
  Section report("", "Sanitize");
  DescribeSanitize(log, report);
  EXPECT_THAT(ForPeople(report), AllOf(HasSubstr("32768 (50.0 %)"), HasSubstr("in progress"),
                                       ContainsRegex("eto +not reported")));
}

// A log of asymmetric access with one group.
std::vector<uint8_t> AnaLog(uint16_t groups, uint32_t nsids) {
  std::vector<uint8_t> log(16 + 32 + 8);
  log[8] = static_cast<uint8_t>(groups);
  log[16] = 5;
  std::memcpy(&log[20], &nsids, sizeof(nsids));
  log[32] = 0xf;
  log[48] = 1;
  log[52] = 3;
  return log;
}

TEST(AnaReport, ListsGroupsAndTheirNamespaces) {
  Section report("", "ANA");
  DescribeAna(AnaLog(1, 2), report);
  EXPECT_THAT(ForPeople(report),
              AllOf(HasSubstr("Group 5"), HasSubstr("ANA State: change"), HasSubstr("1 3")));
}

TEST(AnaReport, NumbersThatCannotBeEndIt) {
  for (const uint32_t nsids : {3u, 0x40000000u, UINT32_MAX}) {
    Section report("", "ANA");
    DescribeAna(AnaLog(255, nsids), report);
    EXPECT_EQ(report.FindSection("groups")->sections().size(), 1u);
  }
  const std::vector<uint8_t> log = AnaLog(200, 0);
  for (size_t bytes = 0; bytes <= log.size(); ++bytes) {
    Section report("", "ANA");
    DescribeAna(std::span(log).first(bytes), report);
    ToJson(report);
  }
}

// --- The discovery log page.

pollux_nvme_discovery_entry DiscoveryEntry() {
  pollux_nvme_discovery_entry entry{};
  entry.trtype = 3;
  entry.adrfam = 1;
  entry.subtype = POLLUX_NVME_SUBSYSTEM_NVM;
  entry.portid = 7;
  std::strcpy(entry.traddr, "192.0.2.1");
  std::strcpy(entry.trsvcid, "4420");
  std::strcpy(entry.subnqn, "nqn.2024-01.io.example:a");
  return entry;
}

TEST(DiscoveryReport, TellsWhatIsWhere) {
  const pollux_nvme_discovery_entry entry = DiscoveryEntry();
  pollux_nvme_discovery_log log{.generation = 5, .count = 1, .entries = &entry};
  Section report("", "Discovery");
  DescribeDiscovery(log, report);
  const std::string text = ForPeople(report);
  EXPECT_THAT(text, HasSubstr("nqn.2024-01.io.example:a"));
  EXPECT_THAT(text, HasSubstr("NVM subsystem  TCP 192.0.2.1 port 4420"));
  const Json::Value json = ToJson(report);
  EXPECT_EQ(json["genctr"].asUInt(), 5u);
  EXPECT_EQ(json["entries"][0]["subnqn"].asString(), "nqn.2024-01.io.example:a");
  EXPECT_EQ(json["entries"][0]["trsvcid"].asString(), "4420");
  EXPECT_EQ(json["entries"][0]["subtype"].asUInt(), 2u);
}

TEST(DiscoveryReport, PrintsNothingThatATerminalWouldObey) {
  pollux_nvme_discovery_entry entry = DiscoveryEntry();
  std::memset(entry.subnqn, 0x1b, sizeof(entry.subnqn) - 1);
  std::memset(entry.traddr, 0xff, sizeof(entry.traddr) - 1);
  std::memset(entry.trsvcid, '\r', sizeof(entry.trsvcid) - 1);
  entry.trtype = entry.adrfam = entry.subtype = entry.treq = entry.tsas = 0xff;
  entry.unusable = "its subsystem type is not known";
  pollux_nvme_discovery_log log{.generation = ~uint64_t{0}, .count = 1, .entries = &entry};
  Section report("", "Discovery");
  DescribeDiscovery(log, report);
  const std::string text = ForPeople(report);
  ExpectClean(text);
  EXPECT_THAT(text, HasSubstr("not usable: its subsystem type is not known"));
  ToJson(report);
}

}  // namespace
}  // namespace pollux::cli
