#include "tests/unit/targets/nvmf/controller_fixture.h"

// Get Log Page. Base §5.16.

namespace pollux::nvmf::admin_test {
namespace {

class LogPagesTest : public ControllerTest {
 protected:
  LogPagesTest() { facts_.namespaces_max = 4096; }
  void SetUpDiscovery() {
    facts_.discovery = true;
    facts_.nqn = "nqn.2014-08.org.nvmexpress.discovery";
    SetUpController();
  }
  Bytes Data(const Log& log) {
    const AdminCommand& command = GetLog(log);
    EXPECT_STATUS(command, kOk) << "log " << int{log.lid};
    EXPECT_EQ(command.in.size(), log.bytes);
    return command.in.size() == log.bytes ? command.in : Bytes(log.bytes);
  }
};

TEST_F(LogPagesTest, SupportedPagesAreListed) {
  SetUpController();
  const Bytes data = Data({.lid = 0x00, .bytes = 1024});
  for (uint32_t lid = 0; lid < 256; ++lid) {
    const bool there = lid <= 0x05 || lid == 0x12;
    EXPECT_EQ(U32(data, 4 * lid), there ? 1u : 0u) << lid;
    const int expected = there ? kOk : kNoSuchLog;
    EXPECT_STATUS(GetLog({.lid = static_cast<uint8_t>(lid)}), expected) << lid;
  }
}

TEST_F(LogPagesTest, SupportedPagesWithAna) {
  facts_.ana_reporting = true;
  SetUpController();
  const Bytes data = Data({.lid = 0x00, .bytes = 1024});
  EXPECT_EQ(U32(data, 4 * 0x0c), 1u);
  EXPECT_EQ(U32(data, 4 * 0x70), 0u);
}

TEST_F(LogPagesTest, HealthAddsUpWhatQueuesHaveCounted) {
  control_side_.totals = {
      .reads = 7, .writes = 1ull << 40, .bytes_read = 512'000, .bytes_written = 512'001};
  SetUpController();
  for (const uint32_t nsid : {0u, 0xffffffffu}) {
    const Bytes data = Data({.lid = 0x02, .bytes = 512, .nsid = nsid});
    EXPECT_EQ(U8(data, 0), 0) << "no warning";
    EXPECT_EQ(U8(data, 3), 100) << "available spare";
    EXPECT_EQ(U64(data, 32), 1u) << "data units read";
    EXPECT_EQ(U64(data, 40), 0u);
    EXPECT_EQ(U64(data, 48), 2u) << "data units written, rounded up";
    EXPECT_EQ(U64(data, 64), 7u) << "host reads";
    EXPECT_EQ(U64(data, 80), 1ull << 40) << "host writes";
    EXPECT_TRUE(IsAllZero(data, 96));
  }
}

TEST_F(LogPagesTest, FirmwareIsInSlotOne) {
  SetUpController();
  const Bytes data = Data({.lid = 0x03, .bytes = 512});
  EXPECT_EQ(U8(data, 0), 1);
  EXPECT_EQ(Text(data, 8, 8), "0.1.0   ");
  EXPECT_TRUE(IsAllZero(data, 16));
}

TEST_F(LogPagesTest, EffectsNameWhatIsExecuted) {
  SetUpController();
  const Bytes data = Data({.lid = 0x05, .bytes = 4096});
  for (uint32_t opcode = 0; opcode < 256; ++opcode) {
    const bool admin = opcode == 0x02 || opcode == 0x06 || opcode == 0x08 || opcode == 0x09 ||
                       opcode == 0x0a || opcode == 0x0c || opcode == 0x18;
    // Of the controller; Set Features protects namespaces.
    const uint32_t effect = opcode == 0x09 ? 0x300005 : 0x200001;
    EXPECT_EQ(U32(data, 4 * opcode), admin ? effect : 0u) << opcode;
    const bool reads = opcode == 0x00 || opcode == 0x02 || opcode == 0x05 || opcode == 0x0c;
    const bool writes = opcode == 0x01 || opcode == 0x08 || opcode == 0x09 || opcode == 0x19;
    EXPECT_EQ(U32(data, 1024 + 4 * opcode), reads ? 0x100001u : writes ? 0x100003u : 0u) << opcode;
  }
  EXPECT_TRUE(IsAllZero(data, 2048));
}

TEST_F(LogPagesTest, EffectsAreOfTheNvmCommandSet) {
  SetUpController();
  for (const uint32_t csi : {1u, 2u, 255u}) {
    const Sqe sqe = Sqe(0x02).Dword(10, 0x05).Dword(14, csi << 24);
    EXPECT_STATUS(Run(sqe, 4096), kBadField) << csi;
  }
}

TEST_F(LogPagesTest, FeatureEffectsNameWhatCanBeHad) {
  SetUpController();
  AddNamespace(1);
  const Bytes data = Data({.lid = 0x12, .bytes = 1024});
  for (uint32_t fid = 0; fid < 256; ++fid) {
    const bool there = GetFeature(static_cast<uint8_t>(fid), 3, 0, 1).status() == kOk;
    const uint32_t effect = fid == 0x84 ? 0x100005 : 0x200001;
    EXPECT_EQ(U32(data, 4 * fid), there ? effect : 0u) << fid;
  }
}

TEST_F(LogPagesTest, AUuidIndexSelectsNothing) {
  SetUpController();
  const Sqe sqe = Sqe(0x02).Dword(10, 0x03 | 127u << 16).Dword(14, 0x7f);
  EXPECT_EQ(Run(sqe, 512).in, Data({.lid = 0x03, .bytes = 512}));
}

// --- Changed namespaces.

TEST_F(LogPagesTest, ChangedNamespacesAreListedOnce) {
  SetUpController();
  for (const uint32_t nsid : {9u, 2u, 5u}) {
    AddNamespace(nsid);
    Tell(SubsystemEvent::kNamespaceChanged, nsid);
  }
  Tell(SubsystemEvent::kNamespaceChanged, 2);
  for (const bool retain : {true, false}) {
    const Bytes data = Data({.lid = 0x04, .bytes = 4096, .retain = retain});
    EXPECT_EQ(U32(data, 0), 2u);
    EXPECT_EQ(U32(data, 4), 5u);
    EXPECT_EQ(U32(data, 8), 9u);
    EXPECT_TRUE(IsAllZero(data, 12));
  }
  EXPECT_TRUE(IsAllZero(Data({.lid = 0x04, .bytes = 4096}))) << "it was read";
}

TEST_F(LogPagesTest, MoreChangedNamespacesThanFitAreAllOfThem) {
  SetUpController();
  // Of 1,025 that come to be, and are gone when the host looks.
  for (uint32_t nsid = 1; nsid <= 1025; ++nsid) {
    AddNamespace(nsid);
    OnReactor([&] { view_->Tell(SubsystemEvent::kNamespaceChanged, nsid); });
    if (nsid == 1024) {
      const Bytes data = Data({.lid = 0x04, .bytes = 4096, .retain = true});
      EXPECT_EQ(U32(data, 0), 1u);
      EXPECT_EQ(U32(data, 4092), 1024u);
    }
  }
  Bytes data = Data({.lid = 0x04, .bytes = 4096});
  EXPECT_EQ(U32(data, 0), 0xffffffffu);
  EXPECT_TRUE(IsAllZero(data, 4));
  Tell(SubsystemEvent::kNamespaceChanged, 3);
  data = Data({.lid = 0x04, .bytes = 4096});
  EXPECT_EQ(U32(data, 0), 3u) << "it begins anew";
}

TEST_F(LogPagesTest, ChangesOfNamespacesOfOthersAreNotListed) {
  SetUpController();
  AddNamespace(1, {.blocks = 8}, [](NamespaceFacts& facts) {
    facts.hosts = std::make_shared<const std::vector<std::string>>();
  });
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_TRUE(IsAllZero(Data({.lid = 0x04, .bytes = 4096})));
  // Neither are those of numbers that cannot be.
  Tell(SubsystemEvent::kNamespaceChanged, 0);
  Tell(SubsystemEvent::kNamespaceChanged, 4097);
  EXPECT_TRUE(IsAllZero(Data({.lid = 0x04, .bytes = 4096})));

  // One that is shown, and one that is taken away from the host, are.
  ChangeNamespace(1, [](NamespaceFacts& facts) { facts.hosts = nullptr; });
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_EQ(U32(Data({.lid = 0x04, .bytes = 4096}), 0), 1u);
  RemoveNamespace(1);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_EQ(U32(Data({.lid = 0x04, .bytes = 4096}), 0), 1u);
  Tell(SubsystemEvent::kNamespaceChanged, 1);
  EXPECT_TRUE(IsAllZero(Data({.lid = 0x04, .bytes = 4096}))) << "it knows";
}

// --- ANA.

TEST_F(LogPagesTest, AnaNamesGroupsWithNamespacesThatTheHostSees) {
  facts_.ana_reporting = true;
  SetUpController();
  using nvme::AnaState;
  SetListener({AnaState::kOptimized, AnaState::kOptimized, AnaState::kNonOptimized,
               AnaState::kInaccessible},
              {0, 11, 12, 13}, 77);
  AddNamespace(1, {.blocks = 8}, [](NamespaceFacts& facts) { facts.anagrpid = 3; });
  AddNamespace(2, {.blocks = 8}, [](NamespaceFacts& facts) { facts.anagrpid = 2; });
  AddNamespace(8, {.blocks = 8}, [](NamespaceFacts& facts) { facts.anagrpid = 3; });
  AddNamespace(9, {.blocks = 8}, [](NamespaceFacts& facts) {
    facts.anagrpid = 1;
    facts.hosts = std::make_shared<const std::vector<std::string>>();
  });
  const Bytes data = Data({.lid = 0x0c, .bytes = 256});
  EXPECT_EQ(U64(data, 0), 77u) << "change count";
  EXPECT_EQ(U16(data, 8), 2) << "descriptors";
  EXPECT_EQ(U32(data, 16), 2u) << "group";
  EXPECT_EQ(U32(data, 20), 1u) << "namespaces";
  EXPECT_EQ(U64(data, 24), 12u) << "its change count";
  EXPECT_EQ(U8(data, 32), 2) << "non-optimized";
  EXPECT_EQ(U32(data, 48), 2u) << "the namespace";
  EXPECT_EQ(U32(data, 52), 3u) << "the next group";
  EXPECT_EQ(U32(data, 56), 2u);
  EXPECT_EQ(U64(data, 60), 13u);
  EXPECT_EQ(U8(data, 68), 3) << "inaccessible";
  EXPECT_EQ(U32(data, 84), 1u);
  EXPECT_EQ(U32(data, 88), 8u);
  EXPECT_TRUE(IsAllZero(data, 92));
}

TEST_F(LogPagesTest, AnaNamesGroupsAloneWhenAsked) {
  facts_.ana_reporting = true;
  SetUpController();
  for (const uint32_t nsid : {1u, 2u}) AddNamespace(nsid);
  const Bytes data = Data({.lid = 0x0c, .bytes = 128, .lsp = 1});
  EXPECT_EQ(U16(data, 8), 2);
  EXPECT_EQ(U32(data, 16), 1u);
  EXPECT_EQ(U32(data, 20), 0u);
  EXPECT_EQ(U8(data, 32), 1) << "optimized";
  EXPECT_EQ(U32(data, 48), 2u);
  EXPECT_TRUE(IsAllZero(data, 80));
}

TEST_F(LogPagesTest, AnaOfAListenerThatIsGoneIsInaccessible) {
  facts_.ana_reporting = true;
  SetUpController();
  AddNamespace(1);
  OnReactor([&] { view_->RemoveListener(kListener); });
  const Bytes data = Data({.lid = 0x0c, .bytes = 64});
  EXPECT_EQ(U32(data, 16), 1u);
  EXPECT_EQ(U8(data, 32), 3);
}

// --- Discovery.

TEST_F(LogPagesTest, DiscoveryIsReadInPieces) {
  control_side_.discovery_log =
      std::string(1024, 'h') + std::string(1024, 'a') + std::string(1024, 'b');
  SetUpDiscovery();
  EXPECT_EQ(Data({.lid = 0x70, .bytes = 16}), Bytes(16, 'h'));
  EXPECT_EQ(Data({.lid = 0x70, .bytes = 1024, .offset = 1024}), Bytes(1024, 'a'));
  EXPECT_EQ(Data({.lid = 0x70, .bytes = 4, .offset = 2048}), Bytes(4, 'b'));
  const Bytes data = Data({.lid = 0x70, .bytes = 131072, .offset = 2048});
  EXPECT_EQ(U8(data, 1023), 'b');
  EXPECT_TRUE(IsAllZero(data, 1024)) << "nothing of others lies beyond the end";
  EXPECT_TRUE(IsAllZero(Data({.lid = 0x70, .bytes = 1024, .offset = 3072}))) << "at the end";
  EXPECT_STATUS(GetLog({.lid = 0x70, .bytes = 4, .offset = 3076}), kBadField) << "beyond it";
}

TEST_F(LogPagesTest, DiscoveryControllersHaveNoOtherPages) {
  SetUpDiscovery();
  const Bytes data = Data({.lid = 0x00, .bytes = 1024});
  for (uint32_t lid = 0; lid < 256; ++lid) {
    const bool there = lid == 0x00 || lid == 0x70;
    EXPECT_EQ(U32(data, 4 * lid), there ? 1u : 0u) << lid;
    EXPECT_STATUS(GetLog({.lid = static_cast<uint8_t>(lid)}), there ? kOk : kNoSuchLog) << lid;
  }
}

// --- Offsets and lengths at their extremes.

TEST_F(LogPagesTest, PartsAreCutOutOfThePage) {
  SetUpController();
  const Bytes whole = Data({.lid = 0x05, .bytes = 4096});
  for (const uint32_t at : {0u, 4u, 1024u, 2000u, 4092u}) {
    const Bytes part = Data({.lid = 0x05, .bytes = 4, .offset = at});
    EXPECT_EQ(U32(part, 0), U32(whole, at)) << at;
  }
}

TEST_F(LogPagesTest, OffsetsBeyondThePageAreInvalid) {
  SetUpController();
  const std::pair<uint8_t, uint64_t> pages[] = {{0x00, 1024}, {0x01, 4096}, {0x02, 512},
                                                {0x03, 512},  {0x04, 4096}, {0x05, 4096},
                                                {0x12, 1024}};
  for (const auto& [lid, bytes] : pages) {
    EXPECT_STATUS(GetLog({.lid = lid, .offset = bytes - 4}), kOk) << int{lid};
    EXPECT_STATUS(GetLog({.lid = lid, .offset = bytes}), kOk) << int{lid};
    for (const uint64_t beyond :
         {bytes + 4, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{0xfffffffc}, UINT64_MAX - 3}) {
      EXPECT_STATUS(GetLog({.lid = lid, .offset = beyond}), kBadField) << int{lid} << " " << beyond;
    }
  }
}

TEST_F(LogPagesTest, OffsetsAreOfWholeDwordsAndOfBytes) {
  SetUpController();
  for (const uint64_t offset : {1u, 2u, 3u, 5u, 4095u}) {
    EXPECT_STATUS(GetLog({.lid = 0x05, .offset = offset}), kBadField) << offset;
  }
  EXPECT_STATUS(Run(Sqe(0x02).Dword(10, 0x05).Dword(14, 1u << 23), 4), kBadField)
      << "an offset of entries";
}

TEST_F(LogPagesTest, NoMoreMovesThanTheTransferLimit) {
  limits_.io_bytes_max = 8192;
  SetUpController();
  EXPECT_STATUS(GetLog({.lid = 0x05, .bytes = 8192}), kOk);
  EXPECT_STATUS(GetLog({.lid = 0x05, .bytes = 8196}), kBadField);
  EXPECT_STATUS(GetLog({.lid = 0x05, .bytes = 8196, .data_bytes = 8196}), kBadField);
  // NUMD of all ones is 16 GiB.
  for (const uint32_t data_bytes : {0u, 4096u, 1u << 20}) {
    EXPECT_STATUS(Run(Sqe(0x02).Dword(10, 0xffff0005).Dword(11, 0xffff), data_bytes), kBadField);
  }
}

TEST_F(LogPagesTest, NoMoreMovesThanTheHostHasRoomFor) {
  SetUpController();
  for (const uint8_t lid : Bytes{0x00, 0x02, 0x04, 0x05}) {
    for (const uint32_t room : {0u, 1u, 508u, 511u}) {
      const AdminCommand& command = GetLog({.lid = lid, .bytes = 512, .data_bytes = room});
      EXPECT_STATUS(command, kBadLength) << int{lid} << " " << room;
      EXPECT_TRUE(command.in.empty());
    }
  }
  EXPECT_EQ(GetLog({.lid = 0x05, .bytes = 512, .data_bytes = 1 << 20}).in.size(), 512u);
}

TEST_F(LogPagesTest, PagesAreNotOfOneNamespace) {
  SetUpController();
  AddNamespace(1);
  for (const uint8_t lid : Bytes{0x00, 0x01, 0x02, 0x03, 0x04, 0x05}) {
    EXPECT_STATUS(GetLog({.lid = lid, .nsid = 1}), kBadField) << int{lid};
    EXPECT_STATUS(GetLog({.lid = lid, .nsid = 0xfffffffe}), kBadField) << int{lid};
    EXPECT_STATUS(GetLog({.lid = lid, .nsid = 0xffffffff}), kOk) << int{lid};
  }
}

TEST_F(LogPagesTest, SurviveAConnectionThatDiesMeanwhile) {
  SetUpController();
  AdminCommand& command = Start(Sqe(0x02).Dword(10, 0x007f0002), 512);
  CloseQueue();
  EXPECT_STATUS(command, kQueueGone);
}

}  // namespace
}  // namespace pollux::nvmf::admin_test
