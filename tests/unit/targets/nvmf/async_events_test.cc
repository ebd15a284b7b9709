#include "tests/unit/targets/nvmf/controller_fixture.h"

// Asynchronous events, Base §5.2; keep alive, §3.9; Abort, §5.1; and commands that are not there.

namespace pollux::nvmf::admin_test {
namespace {

constexpr uint32_t kNamespaces = 1u << 8, kAna = 1u << 11, kDiscovery = 1u << 31;
// Type 2 (notice), what happened, the log page that tells.
constexpr uint32_t kNamespaceNotice = 0x00040002, kAnaNotice = 0x000c0302,
                   kDiscoveryNotice = 0x0070f002;

class AsyncEventsTest : public ControllerTest {
 protected:
  void SetUpEvents(uint32_t enabled) {
    facts_.ana_reporting = (enabled & kAna) != 0;
    SetUpController();
    AddNamespace(1);
    ASSERT_EQ(SetFeature(0x0b, enabled).status(), kOk);
  }
  void ReadLog(uint8_t lid, bool retain = false) {
    ASSERT_EQ(GetLog({.lid = lid, .retain = retain}).status(), kOk);
  }
  AdminCommand& Request() {
    AdminCommand& command = StartEventRequest();
    Spin();
    return command;
  }
};

TEST_F(AsyncEventsTest, EndTheRequestThatWaits) {
  SetUpEvents(kNamespaces | kAna);
  AdminCommand& first = Request();
  AdminCommand& second = Request();
  EXPECT_FALSE(first.ended);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_STATUS(first, kOk);
  EXPECT_EQ(first.dw0(), kNamespaceNotice);
  EXPECT_FALSE(second.ended);
  Tell(SubsystemEvent::kAnaChanged);
  EXPECT_STATUS(second, kOk);
  EXPECT_EQ(second.dw0(), kAnaNotice);
}

TEST_F(AsyncEventsTest, WaitForARequest) {
  SetUpEvents(kNamespaces | kAna);
  Tell(SubsystemEvent::kAnaChanged);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_EQ(Request().dw0(), kNamespaceNotice);
  EXPECT_EQ(Request().dw0(), kAnaNotice);
  EXPECT_FALSE(Request().ended) << "each was told once";
}

TEST_F(AsyncEventsTest, OfOneKindAreToldOnceUntilTheLogIsRead) {
  SetUpEvents(kNamespaces | kAna);
  EXPECT_FALSE(Request().ended);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  AdminCommand& next = Request();
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_FALSE(next.ended);
  ReadLog(0x04, /*retain=*/true);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_FALSE(next.ended) << "the host retained it";
  ReadLog(0x0c);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_FALSE(next.ended) << "another log";
  ReadLog(0x04);
  EXPECT_FALSE(next.ended) << "what came before was in the log";
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_STATUS(next, kOk);
}

TEST_F(AsyncEventsTest, AreNotToldOnceTheLogWasRead) {
  SetUpEvents(kNamespaces);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  ReadLog(0x04);
  EXPECT_FALSE(Request().ended);
}

TEST_F(AsyncEventsTest, AreToldToWhoAskedForThem) {
  SetUpEvents(0);
  AdminCommand& request = Request();
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_FALSE(request.ended);
  EXPECT_STATUS(SetFeature(0x0b, kNamespaces), kOk);
  EXPECT_STATUS(request, kOk) << "it happened, and now the host wants to know";
}

TEST_F(AsyncEventsTest, OfDiscoveryGoToDiscoveryControllers) {
  facts_.discovery = true;
  SetUpController();
  SetFeature(0x0b, kDiscovery);
  AdminCommand& request = Request();
  Tell(SubsystemEvent::kDiscoveryChanged);
  EXPECT_STATUS(request, kOk);
  EXPECT_EQ(request.dw0(), kDiscoveryNotice);
  Tell(SubsystemEvent::kDiscoveryChanged);
  AdminCommand& next = Request();
  EXPECT_FALSE(next.ended);
  ReadLog(0x70);
  Tell(SubsystemEvent::kDiscoveryChanged);
  EXPECT_STATUS(next, kOk);
}

TEST_F(AsyncEventsTest, TakeAsManyRequestsAsTheControllerSays) {
  SetUpEvents(kNamespaces);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(Request().ended) << i;
  for (int i = 0; i < 100; ++i) EXPECT_STATUS(Request(), kTooManyEvents);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_FALSE(Request().ended) << "there is room again";
}

TEST_F(AsyncEventsTest, RequestsEndWithTheirQueue) {
  SetUpEvents(kNamespaces);
  AdminCommand& first = Request();
  AdminCommand& second = Request();
  CloseQueue();
  EXPECT_STATUS(first, kQueueGone);
  EXPECT_STATUS(second, kQueueGone);
}

TEST_F(AsyncEventsTest, RequestsCanBeAborted) {
  SetUpEvents(kNamespaces);
  AdminCommand& first = Request();
  AdminCommand& second = Request();
  OnReactor([&] { EXPECT_TRUE(queue_->Abort(first.cid())); });
  Spin();
  EXPECT_STATUS(first, kAborted);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_STATUS(second, kOk);
}

TEST_F(AsyncEventsTest, SurviveEverythingAtOnce) {
  SetUpEvents(kNamespaces | kAna);
  uint32_t seed = 7;
  for (int i = 0; i < 2000; ++i) {
    seed = seed * 1664525 + 1013904223;
    switch (seed >> 28) {
      case 0:
      case 1:
      case 2:
        StartEventRequest();
        break;
      case 3:
      case 4:
        Tell(SubsystemEvent::kNamespaceChanged, 1);
        break;
      case 5:
        Tell(SubsystemEvent::kAnaChanged);
        break;
      case 6:
        Start(Sqe(0x02).Dword(10, 0x04 | (seed & 0x8000)), 4);
        break;
      case 7:
        Start(Sqe(0x02).Dword(10, 0x0c), 4);
        break;
      case 8:
        PropertySet(0x14, 0);
        break;
      case 9:
      case 10:
        PropertySet(0x14, kEnable);
        break;
      case 11:
        Start(Sqe(0x09).Dword(10, 0x0b).Dword(11, seed & (kNamespaces | kAna)));
        break;
      case 12: {
        const auto cid = static_cast<uint16_t>(seed % (commands_.size() + 1));
        OnReactor([&] { queue_->Abort(cid); });
        break;
      }
      default:
        break;
    }
    Spin();
  }
}

// --- Keep alive.

class KeepAliveTest : public ControllerTest {
 protected:
  KeepAliveTest() {
    limits_.kas = 10;
    limits_.kato_min_ms = 1000;
  }
};

TEST_F(KeepAliveTest, EndsAControllerWhoseHostIsSilent) {
  SetUpController(5000);
  Advance(4999);
  EXPECT_EQ(carrier_.ends_wanted, 0);
  Advance(1);
  EXPECT_EQ(carrier_.ends_wanted, 1);
  EXPECT_EQ(carrier_.reason, "keep alive timeout");
  EXPECT_EQ(Csts() & 2, 2u) << "CFS";
  Advance(60000);
  EXPECT_EQ(carrier_.ends_wanted, 1) << "once";
}

TEST_F(KeepAliveTest, LogsWhoAndWhenItWasLastHeard) {
  SetUpController(5000);
  Advance(2000);
  EXPECT_STATUS(Run(Sqe(0x18)), kOk);
  testing::internal::CaptureStderr();
  Advance(6500);
  const std::string text = testing::internal::GetCapturedStderr();
  for (const char* part : {"controller 5", kNqn, kHost, "192.0.2.7:50123", "6.5 s", "5.0 s"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
  }
}

TEST_F(KeepAliveTest, EveryAdminCommandCounts) {
  SetUpController(5000);
  for (int i = 0; i < 10; ++i) {
    Advance(4000);
    EXPECT_STATUS(i % 2 == 0 ? Run(Sqe(0x18)) : PropertyGet(0x1c), kOk);
  }
  EXPECT_EQ(carrier_.ends_wanted, 0);
  Advance(5000);
  EXPECT_EQ(carrier_.ends_wanted, 1);
}

TEST_F(KeepAliveTest, IsOffWhenNotAskedFor) {
  SetUpController(0);
  Advance(100 * 24 * 3600 * 1000ull);
  EXPECT_EQ(carrier_.ends_wanted, 0);
}

TEST_F(KeepAliveTest, IsChangedByTheFeature) {
  SetUpController(5000);
  EXPECT_STATUS(SetFeature(0x0f, 60000), kOk);
  Advance(59999);
  EXPECT_EQ(carrier_.ends_wanted, 0);
  EXPECT_STATUS(SetFeature(0x0f, 0), kOk);
  Advance(1000000);
  EXPECT_EQ(carrier_.ends_wanted, 0);
  EXPECT_STATUS(SetFeature(0x0f, 1000), kOk);
  Advance(1000);
  EXPECT_EQ(carrier_.ends_wanted, 1);
}

TEST_F(KeepAliveTest, LongestTimeoutDoesNotWrap) {
  SetUpController(0xffffffff);
  Advance(4294967000ull - 1);
  EXPECT_EQ(carrier_.ends_wanted, 0);
  Advance(1);
  EXPECT_EQ(carrier_.ends_wanted, 1);
}

TEST_F(KeepAliveTest, RunsBeforeTheControllerIsEnabled) {
  SetUpSubsystem();
  Connect(ConnectSqe(0, 31, 3000), ConnectData());
  Advance(3000);
  EXPECT_EQ(carrier_.ends_wanted, 1);
}

TEST_F(KeepAliveTest, DiscoveryControllersEndWhenIdle) {
  facts_.discovery = true;
  SetUpController(0);
  EXPECT_EQ(GetFeature(0x0f).dw0(), 120000u);
  Advance(119999);
  EXPECT_EQ(carrier_.ends_wanted, 0);
  Advance(1);
  EXPECT_EQ(carrier_.ends_wanted, 1);
}

TEST_F(KeepAliveTest, DiscoveryControllersHaveTheTimeoutThatIsAskedFor) {
  facts_.discovery = true;
  SetUpController(30000);
  EXPECT_STATUS(SetFeature(0x0f, 0), kOk);
  EXPECT_EQ(GetFeature(0x0f).dw0(), 120000u) << "but not none";
  EXPECT_STATUS(SetFeature(0x0f, 30000), kOk);
  Advance(30000);
  EXPECT_EQ(carrier_.ends_wanted, 1);
}

// --- Abort.

class AbortTest : public ControllerTest {
 protected:
  static Sqe AbortSqe(uint16_t sqid, uint16_t cid) {
    return Sqe(0x08).Dword(10, uint32_t{cid} << 16 | sqid);
  }
};

TEST_F(AbortTest, SaysWhetherTheCommandEnds) {
  SetUpController();
  control_side_.abort_finds = true;
  EXPECT_EQ(Run(AbortSqe(3, 0x1234)).dw0(), 0u);
  control_side_.abort_finds = false;
  EXPECT_EQ(Run(AbortSqe(0xffff, 0xffff)).dw0(), 1u);
  using Calls = std::vector<std::pair<uint16_t, uint16_t>>;
  EXPECT_EQ(control_side_.aborted, (Calls{{3, 0x1234}, {0xffff, 0xffff}}));
}

TEST_F(AbortTest, DoesNotAbortItself) {
  SetUpController();
  control_side_.abort_finds = true;
  const auto own_cid = static_cast<uint16_t>(commands_.back().cid() + 1);
  const AdminCommand& command = Run(AbortSqe(0, own_cid));
  ASSERT_EQ(command.entry.cid, own_cid);
  EXPECT_STATUS(command, kOk);
  EXPECT_EQ(command.dw0(), 1u);
  EXPECT_TRUE(control_side_.aborted.empty());
}

TEST_F(AbortTest, AreAFewAtATime) {
  SetUpController();
  Completion<bool> gate;
  control_side_.gate = &gate;
  std::vector<AdminCommand*> first = {&Start(AbortSqe(1, 1))};
  Spin();
  control_side_.gate = nullptr;
  // The others do not wait for it.
  for (int i = 0; i < 10; ++i) EXPECT_STATUS(Run(AbortSqe(1, 2)), kOk);

  std::list<Completion<bool>> gates;
  for (int i = 0; i < 3; ++i) {
    control_side_.gate = &gates.emplace_back();
    first.push_back(&Start(AbortSqe(1, 1)));
    Spin();
  }
  EXPECT_STATUS(Run(AbortSqe(1, 3)), kTooManyAborts);
  world_.OnControl([&] {
    gate.Set(true);
    for (Completion<bool>& each : gates) each.Set(true);
  });
  Spin();
  for (const AdminCommand* command : first) EXPECT_STATUS(*command, kOk);
  control_side_.gate = nullptr;
  EXPECT_STATUS(Run(AbortSqe(1, 3)), kOk);
}

TEST_F(AbortTest, SurvivesItsOwnConnection) {
  SetUpController();
  Completion<bool> gate;
  control_side_.gate = &gate;
  AdminCommand& command = Start(AbortSqe(1, 1));
  Spin();
  OnReactor([&] { queue_->Close(); });
  Spin();
  EXPECT_FALSE(carrier_.ended);
  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_TRUE(command.ended);
  EXPECT_TRUE(carrier_.ended);
  queue_ = nullptr;
}

// --- What else may come.

class AdminCommandsTest : public ControllerTest {};

TEST_F(AdminCommandsTest, OthersAreNotThere) {
  SetUpController();
  for (int opcode = 0; opcode < 256; ++opcode) {
    const bool known = opcode == 0x02 || opcode == 0x06 || (opcode >= 0x08 && opcode <= 0x0a) ||
                       opcode == 0x0c || opcode == 0x18 || opcode == 0x7f;
    if (known) continue;
    for (const uint32_t bytes : {0u, 4096u, 1u << 20}) {
      const AdminCommand& command = Run(Sqe(static_cast<uint8_t>(opcode), 1), bytes, Bytes(bytes));
      EXPECT_STATUS(command, kBadOpcode) << opcode;
      EXPECT_TRUE(command.dnr());
    }
  }
}

TEST_F(AdminCommandsTest, OtherFabricsCommandsAreNotThere) {
  SetUpController();
  for (uint32_t type = 0; type < 256; ++type) {
    if (type == 0x00 || type == 0x01 || type == 0x04 || type == 0x08) continue;
    EXPECT_STATUS(Run(Sqe(0x7f).At(4, type, 1), 1024, Bytes(1024)), kBadOpcode) << type;
  }
}

TEST_F(AdminCommandsTest, AreNotFused) {
  SetUpController();
  for (const uint8_t fuse : Bytes{1, 2, 3}) {
    Sqe sqe(0x06);
    sqe.bytes[1] = fuse;
    EXPECT_STATUS(Run(sqe.Dword(10, 1), 4096), kBadField) << int{fuse};
  }
}

TEST_F(AdminCommandsTest, OfAnyKindAreAnswered) {
  facts_.ana_reporting = true;
  SetUpController();
  AddNamespace(1);
  uint32_t seed = 99;
  const auto next = [&seed] { return (seed = seed * 1664525 + 1013904223) >> 8; };
  for (int i = 0; i < 3000; ++i) {
    const Bytes opcodes = {0x02, 0x06, 0x08, 0x09, 0x0a, 0x18, 0x7f};
    Sqe sqe(opcodes[next() % opcodes.size()], next() % 4);
    for (size_t dword = 10; dword < 16; ++dword) {
      sqe.Dword(dword, next() % 3 == 0 ? next() << 8 | (next() & 0xff) : next() % 32);
    }
    const uint32_t bytes = next() % 4 == 0 ? 1 << 20 : next() % 8192;
    AdminCommand& command = Run(sqe, bytes, Bytes(bytes));
    EXPECT_LE(command.in.size(), bytes);
    if (carrier_.ends_wanted > 0 || i % 100 == 99) {
      CloseQueue();
      MakeQueue();
      Connect(ConnectSqe(), ConnectData());
      PropertySet(0x14, kEnable);
    }
  }
}

}  // namespace
}  // namespace pollux::nvmf::admin_test
