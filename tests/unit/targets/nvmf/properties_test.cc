#include "tests/unit/targets/nvmf/controller_fixture.h"

// The registers of a controller as properties. Base §3.1.3, §6.5, §6.6.

namespace pollux::nvmf::admin_test {
namespace {

constexpr uint32_t kCap = 0x00, kVs = 0x08, kNssr = 0x20, kCc = 0x14, kCstsAt = 0x1c, kCrto = 0x68;
constexpr uint32_t kShutdown = 1u << 14, kAbruptShutdown = 2u << 14;

class PropertiesTest : public ControllerTest {
 protected:
  void Connected(uint16_t io_depth = 128) {
    limits_.io_depth_max = io_depth;
    SetUpSubsystem();
    ASSERT_EQ(Connect(ConnectSqe(), ConnectData()).status(), kOk);
  }
};

TEST_F(PropertiesTest, SayWhatTheControllerCan) {
  Connected(256);
  const uint64_t cap = PropertyGet(kCap, 1).value();
  EXPECT_EQ(cap & 0xffff, 255u) << "MQES";
  EXPECT_EQ(cap >> 16 & 1, 1u) << "CQR";
  EXPECT_EQ(cap >> 17 & 3, 0u) << "AMS";
  EXPECT_EQ(cap >> 24 & 0xff, 60u) << "TO";
  EXPECT_EQ(cap >> 32 & 0xf, 0u) << "DSTRD";
  EXPECT_EQ(cap >> 36 & 1, 0u) << "NSSRS";
  EXPECT_EQ(cap >> 37 & 0xff, 0x41u) << "CSS";
  EXPECT_EQ(cap >> 48 & 0xff, 0u) << "MPSMIN, MPSMAX";
  EXPECT_EQ(cap >> 56 & 7, 0u) << "PMRS, CMBS, NSSS";
  EXPECT_EQ(cap >> 59 & 3, 1u) << "CRMS";
  EXPECT_EQ(PropertyGet(kVs).value(), 0x00020000u);
  EXPECT_EQ(PropertyGet(kCc).value(), 0u);
  EXPECT_EQ(PropertyGet(kCstsAt).value(), 0u);
  EXPECT_EQ(PropertyGet(kCrto).value(), 60u) << "CRWMT, as long as TO";
}

TEST_F(PropertiesTest, AreOnlyThereAtTheirOffsetsAndOfTheirSizes) {
  Connected();
  const std::pair<uint32_t, int> absent[] = {
      {kCap, 0}, {kCap + 4, 0}, {kVs, 1},        {kCc, 1},      {kCstsAt, 1},   {kNssr, 0},
      {0x0c, 0}, {0x24, 0},     {0x28, 1},       {0x30, 1},     {kCap, 2},      {kCc, 7},
      {0x15, 0}, {0x1000, 0},   {0xffffffff, 0}, {kCap + 1, 1}, {0xfffffff8, 1}};
  for (const auto& [offset, attrib] : absent) {
    EXPECT_STATUS(PropertyGet(offset, attrib), kBadField) << offset << " " << attrib;
  }
}

TEST_F(PropertiesTest, AreReadOnlyApartFromCc) {
  Connected();
  EXPECT_STATUS(PropertySet(kCap, 1, 1), kBadField);
  EXPECT_STATUS(PropertySet(kVs, 1), kBadField);
  EXPECT_STATUS(PropertySet(kCstsAt, 0x10), kBadField);
  EXPECT_STATUS(PropertySet(kNssr, 0x4e564d65), kBadField);
  EXPECT_STATUS(PropertySet(kCrto, 1), kBadField);
  EXPECT_STATUS(PropertySet(kCc, kEnable, 1), kBadField) << "eight bytes";
  EXPECT_STATUS(PropertySet(0xffffffff, 1), kBadField);
  EXPECT_EQ(Csts(), 0u);
}

TEST_F(PropertiesTest, EnableTheController) {
  Connected();
  EXPECT_FALSE(queue_->admin_controller()->ready());
  EXPECT_STATUS(PropertySet(kCc, kEnable), kOk);
  EXPECT_EQ(PropertyGet(kCc).value(), kEnable);
  EXPECT_EQ(Csts(), 1u);
  EXPECT_TRUE(queue_->admin_controller()->ready());
  EXPECT_EQ(control_side_.io_queues_ended, 0);
}

TEST_F(PropertiesTest, TakeEitherWayToTheNvmCommandSet) {
  Connected();
  EXPECT_STATUS(PropertySet(kCc, kEnable | 6u << 4), kOk);
  EXPECT_EQ(Csts(), 1u);
}

// What is wrong with the configuration is a fatal status, that a reset takes back.
TEST_F(PropertiesTest, AreFatalWhenTheConfigurationIsNot) {
  Connected();
  const uint32_t wrong[] = {0x00460001 | 1u << 4,
                            0x00460001 | 7u << 4,
                            0x00460001 | 1u << 7,
                            0x00460001 | 0xfu << 7,
                            0x00460001 | 1u << 11,
                            0x00450001,
                            0x00470001,
                            0x00060001,
                            0x00560001,
                            0x00000001,
                            0xffffffff & ~(3u << 14)};
  for (const uint32_t cc : wrong) {
    EXPECT_STATUS(PropertySet(kCc, cc), kOk);
    EXPECT_EQ(Csts(), 2u) << std::hex << cc;
    EXPECT_STATUS(Identify(1), kBadSequence);
    EXPECT_STATUS(PropertySet(kCc, 0), kOk);
    EXPECT_EQ(Csts(), 0u) << std::hex << cc;
  }
  EXPECT_STATUS(PropertySet(kCc, kEnable), kOk);
  EXPECT_EQ(Csts(), 1u);
}

TEST_F(PropertiesTest, DoNotCareForEntrySizesOfDiscoveryControllers) {
  facts_.discovery = true;
  Connected();
  EXPECT_STATUS(PropertySet(kCc, 1), kOk);
  EXPECT_EQ(Csts(), 1u);
  EXPECT_STATUS(PropertySet(kCc, 0), kOk);
  EXPECT_STATUS(PropertySet(kCc, 1 | 7u << 4), kOk) << "admin commands only";
  EXPECT_EQ(Csts(), 1u);
}

TEST_F(PropertiesTest, KeepWhatTheControllerWasEnabledWith) {
  Connected();
  PropertySet(kCc, kEnable);
  EXPECT_STATUS(PropertySet(kCc, kEnable | 6u << 4 | 3u << 7 | 1u << 11), kOk);
  EXPECT_EQ(PropertyGet(kCc).value(), kEnable);
  EXPECT_EQ(Csts(), 1u);
}

TEST_F(PropertiesTest, LetNoCommandThroughWhileTheControllerIsDisabled) {
  Connected();
  for (int opcode = 0; opcode < 256; ++opcode) {
    if (opcode == 0x7f) continue;
    EXPECT_STATUS(Run(Sqe(static_cast<uint8_t>(opcode)), 4096), kBadSequence) << opcode;
  }
}

// --- Reset. §3.7.2

TEST_F(PropertiesTest, ResetEndsIoQueuesAndEventRequests) {
  SetUpController();
  AdminCommand& request = StartEventRequest();
  EXPECT_STATUS(PropertySet(kCc, 0x00460000), kOk);
  EXPECT_EQ(Csts(), 0u);
  EXPECT_EQ(control_side_.io_queues_ended, 1);
  EXPECT_STATUS(request, kQueueGone);
  EXPECT_EQ(carrier_.ends_wanted, 0) << "the admin queue stays";

  EXPECT_STATUS(PropertySet(kCc, kEnable), kOk);
  EXPECT_EQ(Csts(), 1u);
  EXPECT_STATUS(Identify(1), kOk);
}

TEST_F(PropertiesTest, ResetForgetsWhatTheHostHasSet) {
  SetUpController();
  SetFeature(0x01, 0x07);
  SetFeature(0x07, 0x00010001);
  SetFeature(0x0b, 0x100);
  AddNamespace(1);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  PropertySet(kCc, 0);
  PropertySet(kCc, kEnable);
  EXPECT_EQ(GetFeature(0x01).dw0(), 0u);
  EXPECT_EQ(GetFeature(0x07).dw0(), 126u << 16 | 126u);
  EXPECT_EQ(GetFeature(0x0b).dw0(), 0u);
  SetFeature(0x0b, 0x100);
  AdminCommand& request = StartEventRequest();
  Spin();
  EXPECT_FALSE(request.ended) << "the event from before";
  EXPECT_TRUE(IsAllZero(GetLog({.lid = 4, .bytes = 4096}).in));
}

TEST_F(PropertiesTest, ResetIsDoneWhenTheIoQueuesAreGone) {
  SetUpController();
  Completion<bool> gate;
  control_side_.gate = &gate;
  AdminCommand& reset = Start(Sqe(0x7f).At(4, 0, 1).At(44, kCc, 4).At(48, 0, 8));
  Spin();
  EXPECT_FALSE(reset.ended);
  EXPECT_EQ(Csts(), 1u);
  EXPECT_FALSE(queue_->admin_controller()->ready());
  EXPECT_STATUS(Identify(1), kBadSequence);

  // Enabled again before that, it is when the reset is over.
  EXPECT_STATUS(PropertySet(kCc, kEnable), kOk);
  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_STATUS(reset, kOk);
  EXPECT_EQ(Csts(), 1u);
  EXPECT_STATUS(Identify(1), kOk);
}

TEST_F(PropertiesTest, SurviveAConnectionThatDiesDuringAReset) {
  SetUpController();
  Completion<bool> gate;
  control_side_.gate = &gate;
  AdminCommand& reset = Start(Sqe(0x7f).At(4, 0, 1).At(44, kCc, 4).At(48, 0, 8));
  Spin();
  OnReactor([&] { queue_->Close(); });
  Spin();
  EXPECT_FALSE(carrier_.ended);
  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_TRUE(reset.ended);
  EXPECT_TRUE(carrier_.ended);
  queue_ = nullptr;
}

// --- Shutdown. §3.6

TEST_F(PropertiesTest, ShutDownTheController) {
  SetUpController();
  Completion<bool> gate;
  control_side_.gate = &gate;
  AdminCommand& shutdown =
      Start(Sqe(0x7f).At(4, 0, 1).At(44, kCc, 4).At(48, kEnable | kShutdown, 8));
  Spin();
  EXPECT_EQ(Csts(), 1u | 1u << 2) << "occurring";
  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_STATUS(shutdown, kOk);
  EXPECT_EQ(Csts(), 1u | 2u << 2) << "complete";
  EXPECT_EQ(control_side_.io_queues_ended, 1);
  control_side_.gate = nullptr;

  EXPECT_STATUS(PropertySet(kCc, 0), kOk);
  EXPECT_EQ(Csts(), 0u) << "a reset takes it back";
  PropertySet(kCc, kEnable);
  EXPECT_EQ(Csts(), 1u);
}

TEST_F(PropertiesTest, ShutDownAbruptlyAndWhileDisabled) {
  Connected();
  EXPECT_STATUS(PropertySet(kCc, kAbruptShutdown), kOk);
  EXPECT_EQ(Csts(), 2u << 2);
  EXPECT_STATUS(PropertySet(kCc, kAbruptShutdown), kOk) << "again";
  EXPECT_EQ(control_side_.io_queues_ended, 1);
}

TEST_F(PropertiesTest, ResetAndShutDownInOneWrite) {
  SetUpController();
  EXPECT_STATUS(PropertySet(kCc, kShutdown), kOk);
  EXPECT_EQ(Csts(), 2u << 2);
}

TEST_F(PropertiesTest, DoNotMindAHostThatWritesAnything) {
  Connected();
  uint32_t seed = 1;
  for (int i = 0; i < 300; ++i) {
    seed = seed * 1664525 + 1013904223;
    PropertySet(kCc, seed ^ seed >> 13);
    PropertyGet(seed >> 24, static_cast<int>(seed >> 8 & 7));
  }
  PropertySet(kCc, 0);
  PropertySet(kCc, kEnable);
  EXPECT_EQ(Csts(), 1u);
}

}  // namespace
}  // namespace pollux::nvmf::admin_test
