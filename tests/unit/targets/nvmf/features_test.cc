#include "tests/unit/targets/nvmf/controller_fixture.h"

// Get Features and Set Features. Base §5.15, §5.27.

namespace pollux::nvmf::admin_test {
namespace {

constexpr uint8_t kCurrent = 0, kDefault = 1, kSaved = 2, kCapabilities = 3;

class FeaturesTest : public ControllerTest {
 protected:
  FeaturesTest() {
    facts_.namespaces_max = 8;
    limits_.io_queues_max = 20;
  }
  // It takes `value`, and its default stays.
  void ExpectKeeps(uint8_t fid, uint32_t value, uint32_t by_default) {
    EXPECT_EQ(GetFeature(fid).dw0(), by_default) << int{fid};
    EXPECT_STATUS(SetFeature(fid, value), kOk);
    EXPECT_EQ(GetFeature(fid, kCurrent).dw0(), value) << int{fid};
    EXPECT_EQ(GetFeature(fid, kDefault).dw0(), by_default) << int{fid};
    EXPECT_EQ(GetFeature(fid, kSaved).dw0(), by_default) << int{fid};
    EXPECT_EQ(GetFeature(fid, kCapabilities).dw0(), 4u) << "changeable";
  }
};

TEST_F(FeaturesTest, ValuesAreKept) {
  SetUpController();
  ExpectKeeps(0x01, 0x01020307, 0);  // Arbitration
  ExpectKeeps(0x02, 0x20, 0);        // Power state 0, workload hint 1
  ExpectKeeps(0x05, 100, 0);         // Time limited error recovery
  ExpectKeeps(0x0a, 1, 0);           // Write atomicity
  ExpectKeeps(0x0b, 0x1ff, 0);       // Asynchronous events
}

TEST_F(FeaturesTest, TemperatureThresholdsAreTwo) {
  SetUpController();
  constexpr uint32_t kUnder = 1u << 20;
  EXPECT_EQ(GetFeature(0x04).dw0(), 0xffffu);
  EXPECT_EQ(GetFeature(0x04, 0, kUnder).dw0(), 0u);
  EXPECT_STATUS(SetFeature(0x04, 350), kOk);
  EXPECT_STATUS(SetFeature(0x04, kUnder | 270), kOk);
  EXPECT_EQ(GetFeature(0x04).dw0(), 350u);
  EXPECT_EQ(GetFeature(0x04, 0, kUnder).dw0(), 270u);
  EXPECT_EQ(GetFeature(0x04, kDefault).dw0(), 0xffffu);
  EXPECT_STATUS(SetFeature(0x04, 0xf0000 | 340), kOk) << "all sensors";
  EXPECT_EQ(GetFeature(0x04).dw0(), 340u);
  EXPECT_STATUS(SetFeature(0x04, 0x10000 | 340), kBadField) << "a sensor that is not there";
  EXPECT_STATUS(SetFeature(0x04, 2u << 20 | 340), kBadField) << "no such kind";
}

TEST_F(FeaturesTest, WriteCacheIsAlwaysOn) {
  SetUpController();
  EXPECT_EQ(GetFeature(0x06).dw0(), 1u);
  EXPECT_EQ(GetFeature(0x06, kCapabilities).dw0(), 0u);
  EXPECT_STATUS(SetFeature(0x06, 1), kOk);
  EXPECT_STATUS(SetFeature(0x06, 0), kNotChangeable);
}

TEST_F(FeaturesTest, WhatIsNotThereCannotBeSwitchedOn) {
  SetUpController();
  EXPECT_STATUS(SetFeature(0x02, 1), kBadField) << "another power state";
  EXPECT_STATUS(SetFeature(0x05, 1u << 16), kBadField) << "DULBE";
  EXPECT_STATUS(SetFeature(0x0b, 1u << 9), kBadField) << "firmware activation";
  EXPECT_STATUS(SetFeature(0x0b, 1u << 11), kBadField) << "ANA changes without ANA";
  EXPECT_STATUS(SetFeature(0x0b, 1u << 31), kBadField) << "discovery changes";
  EXPECT_EQ(GetFeature(0x0b).dw0(), 0u);
  EXPECT_STATUS(SetFeature(0x19, 0), kOk);
  EXPECT_STATUS(SetFeature(0x19, 1), 0x12b) << "another combination of command sets";
}

// --- Number of queues. 0's based, submission queues in the low half.

TEST_F(FeaturesTest, QueuesAreGrantedUpToTheLimit) {
  SetUpController();
  EXPECT_EQ(GetFeature(0x07).dw0(), 0x00130013u);
  EXPECT_EQ(queue_->admin_controller()->io_queues_max(), 20);
  const std::pair<uint32_t, uint32_t> asked_and_granted[] = {
      {0x00030003, 0x00030003}, {0x00000000, 0x00000000}, {0x00050002, 0x00020002},
      {0x00130013, 0x00130013}, {0x00140014, 0x00130013}, {0xfffefffe, 0x00130013}};
  for (const auto& [asked, granted] : asked_and_granted) {
    const AdminCommand& command = SetFeature(0x07, asked);
    EXPECT_STATUS(command, kOk);
    EXPECT_EQ(command.dw0(), granted) << std::hex << asked;
    EXPECT_EQ(GetFeature(0x07).dw0(), granted);
    EXPECT_EQ(queue_->admin_controller()->io_queues_max(), (granted & 0xffff) + 1);
  }
  EXPECT_EQ(GetFeature(0x07, kDefault).dw0(), 0x00130013u);
}

TEST_F(FeaturesTest, QueuesOfAllOnesAreInvalid) {
  SetUpController();
  EXPECT_STATUS(SetFeature(0x07, 0xffff0001), kBadField);
  EXPECT_STATUS(SetFeature(0x07, 0x0001ffff), kBadField);
}

TEST_F(FeaturesTest, QueuesAreNotGrantedOnceThereAreSome) {
  SetUpController();
  SetFeature(0x07, 0x00030003);
  control_side_.io_queues = 1;
  EXPECT_STATUS(SetFeature(0x07, 0x00050005), kBadSequence);
  EXPECT_EQ(GetFeature(0x07).dw0(), 0x00030003u);
}

// --- Keep alive.

TEST_F(FeaturesTest, KeepAliveIsRoundedUp) {
  limits_.kas = 10;
  limits_.kato_min_ms = 2000;
  SetUpController(4001);
  EXPECT_EQ(GetFeature(0x0f).dw0(), 5000u) << "what Connect asked";
  const std::pair<uint32_t, uint32_t> asked_and_granted[] = {{0, 0},
                                                             {1, 2000},
                                                             {2000, 2000},
                                                             {2001, 3000},
                                                             {15000, 15000},
                                                             {15999, 16000},
                                                             {0xffffffff, 4294967000}};
  for (const auto& [asked, granted] : asked_and_granted) {
    EXPECT_STATUS(SetFeature(0x0f, asked), kOk);
    EXPECT_EQ(GetFeature(0x0f).dw0(), granted) << asked;
  }
  EXPECT_EQ(GetFeature(0x0f, kDefault).dw0(), 0u);
}

// --- Host identifier, host behaviour.

TEST_F(FeaturesTest, HostIdentifierIsThatOfConnect) {
  SetUpController();
  const AdminCommand& command = GetFeature(0x81, kCurrent, 1, 0, 16);
  EXPECT_STATUS(command, kOk);
  ASSERT_EQ(command.in.size(), 16u);
  for (uint8_t i = 0; i < 16; ++i) EXPECT_EQ(command.in[i], 0xd0 + i);
  EXPECT_STATUS(GetFeature(0x81, kCurrent, 0, 0, 16), kBadField) << "of 64 bits";
  EXPECT_STATUS(GetFeature(0x81, kCurrent, 1, 0, 8), kBadLength);
  EXPECT_EQ(GetFeature(0x81, kCapabilities).dw0(), 0u);
  EXPECT_STATUS(SetFeature(0x81, 1, 0, false, Bytes(16, 1)), kBadSequence);
}

TEST_F(FeaturesTest, HostBehaviourIsRemembered) {
  SetUpController();
  Bytes behaviour(512);
  behaviour[0] = 1;
  EXPECT_STATUS(SetFeature(0x16, 0, 0, false, behaviour), kOk);
  EXPECT_EQ(GetFeature(0x16, kCurrent, 0, 0, 512).in, behaviour);
  EXPECT_EQ(GetFeature(0x16, kDefault, 0, 0, 512).in, Bytes(512));
  behaviour[0] = 0;
  EXPECT_STATUS(SetFeature(0x16, 0, 0, false, behaviour), kOk);
  EXPECT_EQ(GetFeature(0x16, kCurrent, 0, 0, 512).in, behaviour);
}

TEST_F(FeaturesTest, HostBehaviourMayOnlyBeWhatIsOffered) {
  SetUpController();
  for (const size_t at : {0u, 1u, 2u, 3u}) {
    Bytes behaviour(512);
    behaviour[at] = at == 0 ? 2 : 1;
    EXPECT_STATUS(SetFeature(0x16, 0, 0, false, behaviour), kBadField) << at;
  }
  EXPECT_STATUS(SetFeature(0x16, 0, 0, false, Bytes(511)), kBadLength);
  EXPECT_STATUS(SetFeature(0x16, 0), kBadLength);
  EXPECT_STATUS(GetFeature(0x16, kCurrent, 0, 0, 511), kBadLength);
}

// --- Namespace write protection. §8.12

TEST_F(FeaturesTest, WriteProtectionGoesToTheNamespace) {
  SetUpController();
  AddNamespace(3);
  EXPECT_EQ(GetFeature(0x84, kCurrent, 0, 3).dw0(), 0u);
  EXPECT_STATUS(SetFeature(0x84, 1, 3), kOk);
  EXPECT_STATUS(SetFeature(0x84, 0, 3), kOk);
  EXPECT_STATUS(SetFeature(0x84, 2, 3), kOk);
  EXPECT_STATUS(SetFeature(0x84, 3, 3), kOk);
  using nvme::WriteProtection;
  using Calls = std::vector<std::pair<uint32_t, WriteProtection>>;
  EXPECT_EQ(control_side_.protected_namespaces, (Calls{{3, WriteProtection::kOn},
                                                       {3, WriteProtection::kNone},
                                                       {3, WriteProtection::kUntilPowerCycle},
                                                       {3, WriteProtection::kPermanent}}));
  EXPECT_EQ(GetFeature(0x84, kCapabilities, 0, 3).dw0(), 6u) << "changeable, of a namespace";

  ChangeNamespace(
      3, [](NamespaceFacts& facts) { facts.write_protection = nvme::WriteProtection::kOn; });
  EXPECT_EQ(GetFeature(0x84, kCurrent, 0, 3).dw0(), 1u);
  EXPECT_EQ(GetFeature(0x84, kDefault, 0, 3).dw0(), 0u);
}

TEST_F(FeaturesTest, WriteProtectionPassesOnTheControlSidesStatus) {
  SetUpController();
  AddNamespace(3);
  control_side_.protection_status = 0x020;
  EXPECT_STATUS(SetFeature(0x84, 1, 3), 0x020);
}

TEST_F(FeaturesTest, WriteProtectionOfNothingIsInvalid) {
  SetUpController();
  AddNamespace(3);
  AddNamespace(4, {.blocks = 8}, [](NamespaceFacts& facts) {
    facts.hosts = std::make_shared<const std::vector<std::string>>();
  });
  for (const uint32_t nsid : {0u, 1u, 4u, 9u, 0xffffffffu}) {
    EXPECT_STATUS(SetFeature(0x84, 1, nsid), kBadNamespace) << nsid;
    EXPECT_STATUS(GetFeature(0x84, kCurrent, 0, nsid), kBadNamespace) << nsid;
  }
  for (const uint32_t state : {4u, 5u, 7u}) {
    EXPECT_STATUS(SetFeature(0x84, state, 3), kBadField) << "there is no such state";
  }
  EXPECT_TRUE(control_side_.protected_namespaces.empty());
}

// --- What is wrong.

TEST_F(FeaturesTest, UnknownFeaturesAreInvalid) {
  SetUpController();
  for (int fid = 0; fid < 256; ++fid) {
    const bool known = fid == 0x01 || fid == 0x02 || (fid >= 0x04 && fid <= 0x07) || fid == 0x0a ||
                       fid == 0x0b || fid == 0x0f || fid == 0x16 || fid == 0x19 || fid == 0x81 ||
                       fid == 0x84;
    if (known) continue;
    for (const uint8_t select : Bytes{kCurrent, kDefault, kSaved, kCapabilities}) {
      EXPECT_STATUS(GetFeature(static_cast<uint8_t>(fid), select, 0, 0, 4096), kBadField) << fid;
    }
    EXPECT_STATUS(SetFeature(static_cast<uint8_t>(fid), 0), kBadField) << fid;
  }
}

TEST_F(FeaturesTest, NothingIsSaved) {
  SetUpController();
  AddNamespace(3);
  for (const uint8_t fid : Bytes{0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x0a, 0x0b, 0x0f, 0x84}) {
    EXPECT_STATUS(SetFeature(fid, 1, fid == 0x84 ? 3 : 0, true), kNotSaveable) << int{fid};
  }
}

TEST_F(FeaturesTest, OtherSelectionsAreInvalid) {
  SetUpController();
  for (uint8_t select = 4; select < 8; ++select) {
    EXPECT_STATUS(GetFeature(0x01, select), kBadField) << int{select};
  }
}

TEST_F(FeaturesTest, OfTheControllerTheyAreNotOfANamespace) {
  SetUpController();
  EXPECT_STATUS(SetFeature(0x01, 3, 0xffffffff), kOk);
  EXPECT_STATUS(SetFeature(0x01, 4, 1), kNotOfNamespace);
  EXPECT_STATUS(SetFeature(0x01, 4, 9), kBadNamespace);
  EXPECT_EQ(GetFeature(0x01).dw0(), 3u);
}

TEST_F(FeaturesTest, DiscoveryControllersHaveTwo) {
  facts_.discovery = true;
  SetUpController();
  for (const uint8_t fid : Bytes{0x01, 0x06, 0x07, 0x16, 0x81, 0x84}) {
    EXPECT_STATUS(GetFeature(fid, 0, 1, 0, 512), kBadField) << int{fid};
    EXPECT_STATUS(SetFeature(fid, 1), kBadField) << int{fid};
  }
  EXPECT_STATUS(SetFeature(0x0b, 1u << 31), kOk);
  EXPECT_EQ(GetFeature(0x0b).dw0(), 1u << 31);
  EXPECT_STATUS(SetFeature(0x0b, 1u << 8), kBadField) << "there are no namespaces";
  EXPECT_STATUS(SetFeature(0x0f, 30000), kOk);
  EXPECT_EQ(GetFeature(0x0f).dw0(), 30000u);
}

}  // namespace
}  // namespace pollux::nvmf::admin_test
