#include <algorithm>

#include "tests/unit/targets/nvmf/controller_fixture.h"

// The Identify command: each field by its offset. Base §5.17, NVM §4.1.5.

namespace pollux::nvmf::admin_test {
namespace {

class IdentifyTest : public ControllerTest {
 protected:
  IdentifyTest() { facts_.namespaces_max = 64; }
  Bytes Data(uint8_t cns, uint32_t nsid = 0) {
    const AdminCommand& command = Identify(cns, nsid);
    EXPECT_STATUS(command, kOk) << "CNS " << int{cns};
    EXPECT_EQ(command.in.size(), 4096u);
    return command.in.size() == 4096 ? command.in : Bytes(4096);
  }
  std::vector<uint32_t> List(uint8_t cns, uint32_t after = 0) {
    std::vector<uint32_t> list;
    const Bytes data = Data(cns, after);
    for (size_t at = 0; at < 4096 && U32(data, at) != 0; at += 4) list.push_back(U32(data, at));
    return list;
  }
};

TEST_F(IdentifyTest, ControllerSaysWhoItIs) {
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_EQ(Text(data, 4, 20), "SN0123              ");
  EXPECT_EQ(Text(data, 24, 40), "A model" + std::string(33, ' '));
  EXPECT_EQ(Text(data, 64, 8), "0.1.0   ");
  EXPECT_EQ(U16(data, 78), kCntlid);
  EXPECT_EQ(U32(data, 80), 0x00020000u) << "VER";
  EXPECT_EQ(U32(data, 96), 1u) << "CTRATT: host identifiers of 128 bits";
  EXPECT_EQ(U8(data, 111), 1) << "CNTRLTYPE";
  EXPECT_EQ(Text(data, 768, 27), std::string(kNqn) + '\0');
  EXPECT_TRUE(IsAllZero(data, 768 + 26, 1024)) << "SUBNQN ends, and is filled, with NULs";
}

TEST_F(IdentifyTest, ControllerSaysWhatItCan) {
  limits_.io_depth_max = 200;
  limits_.io_bytes_max = 1 << 20;
  limits_.kas = 25;
  facts_.crdt = {3, 5, 600};
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_EQ(U8(data, 76), 3) << "CMIC: several ports and controllers, no ANA";
  EXPECT_EQ(U8(data, 77), 8) << "MDTS";
  EXPECT_EQ(U32(data, 92), 1u << 8) << "OAES: namespaces";
  EXPECT_EQ(U16(data, 128), 3) << "CRDT1";
  EXPECT_EQ(U16(data, 130), 5) << "CRDT2";
  EXPECT_EQ(U16(data, 132), 600) << "CRDT3";
  EXPECT_EQ(U16(data, 256), 0) << "OACS";
  EXPECT_EQ(U8(data, 258), 3) << "ACL";
  EXPECT_EQ(U8(data, 259), 3) << "AERL";
  EXPECT_EQ(U8(data, 260), 3) << "FRMW: one slot, read-only";
  EXPECT_EQ(U8(data, 261), 6) << "LPA: effects, long log pages";
  EXPECT_EQ(U8(data, 262), 63) << "ELPE";
  EXPECT_EQ(U8(data, 263), 0) << "NPSS";
  EXPECT_EQ(U16(data, 320), 25) << "KAS";
  EXPECT_EQ(U8(data, 512), 0x66) << "SQES";
  EXPECT_EQ(U8(data, 513), 0x44) << "CQES";
  EXPECT_EQ(U16(data, 514), 200) << "MAXCMD";
  EXPECT_EQ(U32(data, 516), 64u) << "NN";
  EXPECT_EQ(U16(data, 520), 0x19d) << "ONCS: compare, DSM, write zeroes, save, verify, copy";
  EXPECT_EQ(U16(data, 522), 1) << "FUSES";
  EXPECT_EQ(U8(data, 524), 0) << "FNA";
  EXPECT_EQ(U8(data, 525), 7) << "VWC: Flush goes to one namespace or to all";
  EXPECT_EQ(U16(data, 526), 0) << "AWUN";
  EXPECT_EQ(U16(data, 528), 0) << "AWUPF";
  EXPECT_EQ(U8(data, 531), 7) << "NWPC: all states";
  EXPECT_EQ(U16(data, 532), 0) << "ACWU";
  EXPECT_EQ(U16(data, 534), 1) << "OCFS: copy format 0";
  EXPECT_EQ(U32(data, 540), 64u) << "MNAN";
}

TEST_F(IdentifyTest, ControllerSaysWhatCapsulesCarry) {
  limits_.in_capsule_bytes = 4096;
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_EQ(U32(data, 536), 1u | 1u << 20 | 1u << 21) << "SGLS";
  EXPECT_EQ(U32(data, 1792), (64u + 4096) / 16) << "IOCCSZ";
  EXPECT_EQ(U32(data, 1796), 1u) << "IORCSZ";
  EXPECT_EQ(U16(data, 1800), 0) << "ICDOFF";
  EXPECT_EQ(U8(data, 1802), 0) << "FCATT: dynamic";
  EXPECT_EQ(U8(data, 1803), 1) << "MSDBD";
  EXPECT_EQ(U16(data, 1804), 1) << "OFCS: Disconnect";
}

TEST_F(IdentifyTest, ControllerOffersNothingOfAnaWithoutIt) {
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_TRUE(IsAllZero(data, 342, 352)) << "ANATT, ANACAP, ANAGRPMAX, NANAGRPID";
}

TEST_F(IdentifyTest, ControllerReportsAna) {
  facts_.ana_reporting = true;
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_EQ(U8(data, 76), 3 | 1 << 3) << "CMIC";
  EXPECT_EQ(U32(data, 92), 1u << 8 | 1u << 11) << "OAES";
  EXPECT_EQ(U8(data, 342), 10) << "ANATT";
  EXPECT_EQ(U8(data, 343), 7) << "ANACAP: optimized, non-optimized, inaccessible";
  EXPECT_EQ(U32(data, 344), 64u) << "ANAGRPMAX";
  EXPECT_EQ(U32(data, 348), 64u) << "NANAGRPID";
}

TEST_F(IdentifyTest, LongNamesAreCutToTheirFields) {
  facts_.serial_number = std::string(30, 's');
  facts_.model_number = std::string(60, 'm');
  facts_.nqn = "nqn.2024-01.test:" + std::string(206, 'x');
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_EQ(Text(data, 4, 20), std::string(20, 's'));
  EXPECT_EQ(Text(data, 24, 40), std::string(40, 'm'));
  EXPECT_EQ(Text(data, 64, 1), "0");
  EXPECT_EQ(Text(data, 768, 223), facts_.nqn);
  EXPECT_EQ(U8(data, 991), 0);
}

TEST_F(IdentifyTest, DiscoveryControllerIsOne) {
  facts_.discovery = true;
  facts_.nqn = "nqn.2014-08.org.nvmexpress.discovery";
  SetUpController();
  const Bytes data = Data(0x01);
  EXPECT_EQ(U8(data, 111), 2) << "CNTRLTYPE";
  EXPECT_EQ(U32(data, 92), 1u << 31) << "OAES: discovery";
  EXPECT_EQ(U32(data, 516), 0u) << "NN";
  EXPECT_EQ(U16(data, 520), 0) << "ONCS";
  EXPECT_EQ(U8(data, 261), 4) << "LPA";
  EXPECT_EQ(U16(data, 320), 100) << "KAS";
  for (const uint8_t cns : Bytes{0x00, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x10, 0x13, 0x1c}) {
    EXPECT_STATUS(Identify(cns, 1), kBadField) << int{cns};
  }
}

// --- Namespaces.

TEST_F(IdentifyTest, NamespaceSaysItsSizeAndFormat) {
  SetUpController();
  AddNamespace(3, {.block_bytes = 4096, .blocks = 1'000'000, .physical_block_bytes = 4096});
  const Bytes data = Data(0x00, 3);
  EXPECT_EQ(U64(data, 0), 1'000'000u) << "NSZE";
  EXPECT_EQ(U64(data, 8), 1'000'000u) << "NCAP";
  EXPECT_EQ(U64(data, 16), 1'000'000u) << "NUSE";
  EXPECT_EQ(U8(data, 24), 0) << "NSFEAT";
  EXPECT_EQ(U8(data, 25), 0) << "NLBAF";
  EXPECT_EQ(U8(data, 26), 0) << "FLBAS";
  EXPECT_TRUE(IsAllZero(data, 27, 30)) << "MC, DPC, DPS";
  EXPECT_EQ(U8(data, 30), 1) << "NMIC: shared";
  EXPECT_EQ(U8(data, 31), 0) << "RESCAP";
  EXPECT_EQ(U8(data, 33), 0) << "DLFEAT";
  EXPECT_TRUE(IsAllZero(data, 34, 48)) << "atomicity, NOIOB";
  EXPECT_TRUE(IsAllZero(data, 64, 74)) << "NPWG to NOWS";
  EXPECT_EQ(U8(data, 99), 0) << "NSATTR";
  EXPECT_EQ(U16(data, 128), 0) << "LBAF0: MS";
  EXPECT_EQ(U8(data, 130), 12) << "LBAF0: LBADS";
  EXPECT_TRUE(IsAllZero(data, 132));
}

TEST_F(IdentifyTest, NamespaceSaysWhoItIs) {
  facts_.ana_reporting = true;
  SetUpController();
  AddNamespace(1, {.blocks = 8}, [](NamespaceFacts& facts) {
    facts.nguid.fill(0x4e);
    facts.eui64.fill(0xe6);
    facts.anagrpid = 9;
  });
  const Bytes data = Data(0x00, 1);
  EXPECT_EQ(U32(data, 92), 9u) << "ANAGRPID";
  EXPECT_EQ(Text(data, 104, 16), std::string(16, '\x4e')) << "NGUID";
  EXPECT_EQ(Text(data, 120, 8), std::string(8, '\xe6')) << "EUI64";
}

TEST_F(IdentifyTest, NamespaceSaysWhatItsDiskPrefers) {
  SetUpController();
  AddNamespace(1,
               {.block_bytes = 512,
                .blocks = 8192,
                .physical_block_bytes = 4096,
                .optimal_boundary_blocks = 256},
               [](NamespaceFacts& facts) {
                 facts.limits.preferred_write_granularity_blocks = 16;
                 facts.limits.preferred_unmap_granularity_blocks = 2048;
                 facts.limits.preferred_unmap_alignment_blocks = 1024;
                 facts.limits.optimal_write_blocks = 100000;
                 facts.limits.unmapped_reads_zero = true;
               });
  const Bytes data = Data(0x00, 1);
  EXPECT_EQ(U8(data, 24), 1 << 4) << "NSFEAT: these are there";
  EXPECT_EQ(U16(data, 46), 256) << "NOIOB";
  EXPECT_EQ(U16(data, 64), 15) << "NPWG";
  EXPECT_EQ(U16(data, 66), 7) << "NPWA: the physical block";
  EXPECT_EQ(U16(data, 68), 2047) << "NPDG";
  EXPECT_EQ(U16(data, 70), 1023) << "NPDA";
  EXPECT_EQ(U16(data, 72), 65535) << "NOWS, as much as the field holds";
  EXPECT_EQ(U8(data, 33), 1) << "DLFEAT: zeroes";
  ChangeNamespace(1, [](NamespaceFacts& facts) { facts.unmap = facts.write_zeroes = true; });
  EXPECT_EQ(U8(Data(0x00, 1), 33), 9) << "and Write Zeroes deallocates";
}

TEST_F(IdentifyTest, NamespaceSaysHowMuchIsAtomicAndCopied) {
  SetUpController();
  AddNamespace(1, {.blocks = 8192}, [](NamespaceFacts& facts) {
    facts.compare_and_write = true;
    facts.limits.compare_and_write_blocks_max = 32;
  });
  const Bytes data = Data(0x00, 1);
  EXPECT_EQ(U8(data, 24), 1 << 1) << "NSFEAT: it has numbers of its own";
  EXPECT_EQ(U16(data, 34), 0) << "NAWUN";
  EXPECT_EQ(U16(data, 38), 31) << "NACWU";
  EXPECT_EQ(U16(data, 74), 32768) << "MSSRL";
  EXPECT_EQ(U32(data, 76), 32768u) << "MCL";
  EXPECT_EQ(U8(data, 80), 127) << "MSRC";
}

TEST_F(IdentifyTest, NamespaceSaysWhatMetadataItHas) {
  SetUpController();
  AddNamespace(1, {.block_bytes = 512,
                   .blocks = 8,
                   .metadata_bytes = 8,
                   .metadata_interleaved = true,
                   .protection_type = 1});
  AddNamespace(2, {.block_bytes = 512,
                   .blocks = 8,
                   .metadata_bytes = 16,
                   .metadata_interleaved = true,
                   .protection_type = 3,
                   .protection_first = true});
  AddNamespace(4, {.block_bytes = 512, .blocks = 8, .metadata_bytes = 8});
  Bytes data = Data(0x00, 1);
  EXPECT_EQ(U8(data, 26), 1 << 4) << "FLBAS: with the block";
  EXPECT_EQ(U8(data, 27), 1) << "MC";
  EXPECT_EQ(U8(data, 28), 1 << 0 | 1 << 4) << "DPC: type 1, at the end";
  EXPECT_EQ(U8(data, 29), 1) << "DPS";
  EXPECT_EQ(U16(data, 128), 8) << "MS";
  data = Data(0x00, 2);
  EXPECT_EQ(U8(data, 28), 1 << 2 | 1 << 3) << "DPC: type 3, at the start";
  EXPECT_EQ(U8(data, 29), 3 | 1 << 3) << "DPS";
  EXPECT_EQ(U16(data, 128), 16) << "MS";
  data = Data(0x00, 4);
  EXPECT_TRUE(IsAllZero(data, 26, 30)) << "what lies apart is not carried";
  EXPECT_EQ(U16(data, 128), 0);
}

TEST_F(IdentifyTest, NamespaceSaysWhetherItIsWriteProtected) {
  SetUpController();
  AddNamespace(1, {.blocks = 8});
  EXPECT_EQ(U8(Data(0x00, 1), 99), 0);
  ChangeNamespace(
      1, [](NamespaceFacts& facts) { facts.write_protection = nvme::WriteProtection::kOn; });
  EXPECT_EQ(U8(Data(0x00, 1), 99), 1);
  EXPECT_EQ(U8(Data(0x08, 1), 8), 1);
  AddNamespace(2, {.blocks = 8}, [](NamespaceFacts& facts) { facts.read_only = true; });
  EXPECT_EQ(U8(Data(0x00, 2), 99), 1);
}

TEST_F(IdentifyTest, NamespaceFollowsItsDiskSize) {
  SetUpController();
  PaperDisk& disk = AddNamespace(1, {.blocks = 8});
  ASSERT_TRUE(world_.Run(world_.devices.Resize(disk, 4000)).ok());
  EXPECT_EQ(U64(Data(0x00, 1), 0), 4000u);
}

TEST_F(IdentifyTest, NamespaceOutOfReachDoesNotSayWhatIsUsed) {
  facts_.ana_reporting = true;
  SetUpController();
  AddNamespace(1, {.blocks = 8});
  SetListener({nvme::AnaState::kOptimized, nvme::AnaState::kInaccessible});
  const Bytes data = Data(0x00, 1);
  EXPECT_EQ(U64(data, 0), 8u);
  EXPECT_EQ(U64(data, 16), 0u) << "NUSE";
}

TEST_F(IdentifyTest, IndependentOfCommandSetsItSaysTheSame) {
  facts_.ana_reporting = true;
  SetUpController();
  AddNamespace(5);
  const Bytes data = Data(0x08, 5);
  EXPECT_EQ(U8(data, 1), 1) << "NMIC";
  EXPECT_EQ(U32(data, 4), 5u) << "ANAGRPID";
  EXPECT_EQ(U8(data, 14), 1) << "NSTAT: ready";
  EXPECT_TRUE(IsAllZero(data, 15));
}

TEST_F(IdentifyTest, OfTheNvmCommandSetItSaysLimits) {
  facts_.wzsl = 12;
  facts_.dmrsl = 2048;
  SetUpController();
  AddNamespace(1);
  const Bytes data = Data(0x06);
  EXPECT_EQ(U8(data, 0), 0) << "VSL";
  EXPECT_EQ(U8(data, 1), 12) << "WZSL";
  EXPECT_EQ(U8(data, 3), 0) << "DMRL";
  EXPECT_EQ(U32(data, 4), 2048u) << "DMRSL";
  EXPECT_EQ(U64(data, 8), 0u) << "DMSL";
  EXPECT_TRUE(IsAllZero(Data(0x05, 1))) << "no storage tags, no long guards";
}

TEST_F(IdentifyTest, DescriptorsNameANamespace) {
  SetUpController();
  AddNamespace(1, {.blocks = 8}, [](NamespaceFacts& facts) {
    facts.uuid.bytes.fill(0xab);
    facts.nguid.fill(0xcd);
    facts.eui64.fill(0xef);
  });
  const Bytes data = Data(0x03, 1);
  EXPECT_EQ(U32(data, 0), 0x1003u) << "a UUID of 16 bytes";
  EXPECT_EQ(Text(data, 4, 16), std::string(16, '\xab'));
  EXPECT_EQ(U32(data, 20), 0x1002u) << "an NGUID of 16 bytes";
  EXPECT_EQ(Text(data, 24, 16), std::string(16, '\xcd'));
  EXPECT_EQ(U32(data, 40), 0x0801u) << "an EUI64 of 8 bytes";
  EXPECT_EQ(Text(data, 44, 8), std::string(8, '\xef'));
  EXPECT_EQ(U32(data, 52), 0x0104u) << "a command set of one byte: NVM";
  EXPECT_TRUE(IsAllZero(data, 56));
}

TEST_F(IdentifyTest, DescriptorsLeaveOutWhatIsNotThere) {
  SetUpController();
  AddNamespace(1);
  const Bytes data = Data(0x03, 1);
  EXPECT_EQ(U32(data, 0), 0x0104u);
  EXPECT_TRUE(IsAllZero(data, 4));
}

// --- Lists.

TEST_F(IdentifyTest, ListsNamespacesAfterOne) {
  SetUpController();
  EXPECT_TRUE(List(0x02).empty());
  for (const uint32_t nsid : {1u, 2u, 7u, 64u}) AddNamespace(nsid);
  for (const uint8_t cns : Bytes{0x02, 0x07, 0x10}) {
    EXPECT_EQ(List(cns), (std::vector<uint32_t>{1, 2, 7, 64})) << int{cns};
    EXPECT_EQ(List(cns, 2), (std::vector<uint32_t>{7, 64})) << int{cns};
    EXPECT_TRUE(List(cns, 64).empty());
    EXPECT_TRUE(List(cns, 0xfffffffd).empty());
    EXPECT_STATUS(Identify(cns, 0xfffffffe), kBadNamespace);
    EXPECT_STATUS(Identify(cns, 0xffffffff), kBadNamespace);
  }
}

TEST_F(IdentifyTest, HidesNamespacesOfOthers) {
  SetUpController();
  const auto only = [](const char* host) {
    return [host](NamespaceFacts& facts) {
      facts.hosts = std::make_shared<const std::vector<std::string>>(1, host);
      facts.uuid.bytes.fill(1);
    };
  };
  AddNamespace(1, {.blocks = 8}, only("nqn.2024-01.test:another"));
  AddNamespace(2, {.blocks = 8}, only(kHost));
  EXPECT_EQ(List(0x02), std::vector<uint32_t>{2});
  for (const uint8_t cns : Bytes{0x00, 0x05, 0x08, 0x11}) {
    EXPECT_TRUE(IsAllZero(Data(cns, 1))) << int{cns};
  }
  EXPECT_STATUS(Identify(0x03, 1), kBadNamespace);
  EXPECT_EQ(U64(Data(0x00, 2), 0), 8u);
}

TEST_F(IdentifyTest, ListsControllers) {
  control_side_.controllers[0] = {1, 5, 9};
  control_side_.controllers[2] = {5};
  SetUpController();
  AddNamespace(2);
  Bytes data = Data(0x13);
  EXPECT_EQ(U16(data, 0), 3);
  EXPECT_EQ(U16(data, 2), 1);
  EXPECT_EQ(U16(data, 4), 5);
  EXPECT_EQ(U16(data, 6), 9);
  EXPECT_TRUE(IsAllZero(data, 8));
  data = Identify(0x13, 0, 5).in;
  EXPECT_EQ(U16(data, 0), 2) << "from CNTID on";
  EXPECT_EQ(U16(data, 2), 5);
  data = Data(0x12, 2);
  EXPECT_EQ(U16(data, 0), 1);
  EXPECT_EQ(U16(data, 2), 5);
  EXPECT_TRUE(IsAllZero(Data(0x12, 3))) << "no such namespace";
  EXPECT_STATUS(Identify(0x12, 0), kBadNamespace);
}

TEST_F(IdentifyTest, ListsNoMoreControllersThanItHolds) {
  for (uint16_t id = 1; id <= 4000; ++id) control_side_.controllers[0].push_back(id);
  SetUpController();
  const Bytes data = Data(0x13);
  EXPECT_EQ(U16(data, 0), 2047);
  EXPECT_EQ(U16(data, 4094), 2047);
}

TEST_F(IdentifyTest, ListsOneCombinationOfCommandSets) {
  SetUpController();
  for (const uint16_t cntid : {uint16_t{0xffff}, kCntlid}) {
    const Bytes data = Identify(0x1c, 0, cntid).in;
    EXPECT_EQ(U64(data, 0), 1u) << "the NVM command set";
    EXPECT_TRUE(IsAllZero(data, 8));
  }
  EXPECT_STATUS(Identify(0x1c, 0, 77), kBadField);
}

// --- What is wrong.

TEST_F(IdentifyTest, OfInactiveNamespacesAllIsZero) {
  SetUpController();
  for (const uint8_t cns : Bytes{0x00, 0x05, 0x08, 0x11}) {
    EXPECT_TRUE(IsAllZero(Data(cns, 64))) << int{cns};
  }
  EXPECT_STATUS(Identify(0x03, 64), kBadNamespace);
}

TEST_F(IdentifyTest, OfImpossibleNamespacesThereIsNothing) {
  SetUpController();
  for (const uint8_t cns : Bytes{0x00, 0x03, 0x05, 0x08, 0x11, 0x12}) {
    for (const uint32_t nsid : {0u, 65u, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
      const AdminCommand& command = Identify(cns, nsid);
      EXPECT_STATUS(command, kBadNamespace) << int{cns} << " " << nsid;
      EXPECT_TRUE(command.dnr());
    }
  }
}

TEST_F(IdentifyTest, UnknownStructuresAreInvalid) {
  SetUpController();
  AddNamespace(1);
  for (int cns = 0; cns < 256; ++cns) {
    const bool known =
        cns <= 0x03 || (cns >= 0x05 && cns <= 0x08) || (cns >= 0x10 && cns <= 0x13) || cns == 0x1c;
    if (known) continue;
    EXPECT_STATUS(Identify(static_cast<uint8_t>(cns), 1), kBadField) << cns;
  }
}

TEST_F(IdentifyTest, OtherCommandSetsAreInvalid) {
  SetUpController();
  AddNamespace(1);
  for (const uint8_t cns : Bytes{0x05, 0x06, 0x07}) {
    for (const uint8_t csi : Bytes{1, 2, 255}) {
      EXPECT_STATUS(Identify(cns, 1, 0, csi), kBadField) << int{cns} << " " << int{csi};
    }
  }
}

TEST_F(IdentifyTest, NeedsRoomForAllOfIt) {
  control_side_.controllers[0] = {5};
  SetUpController();
  AddNamespace(1);
  for (const uint8_t cns : Bytes{0x00, 0x01, 0x02, 0x03, 0x08, 0x13, 0x1c}) {
    for (const uint32_t bytes : {0u, 1u, 4u, 4095u}) {
      const AdminCommand& command = Identify(cns, cns == 2 ? 0 : 1, 0xffff, 0, bytes);
      EXPECT_STATUS(command, kBadLength) << int{cns} << " " << bytes;
      EXPECT_TRUE(command.in.empty());
    }
  }
  EXPECT_EQ(Identify(0x01, 0, 0, 0, 1 << 20).in.size(), 4096u) << "there may be more";
}

TEST_F(IdentifyTest, SurvivesAConnectionThatDiesMeanwhile) {
  SetUpController();
  AdminCommand& command = Start(Sqe(0x06).Dword(10, 0x13), 4096);
  CloseQueue();
  EXPECT_STATUS(command, kQueueGone);
}

}  // namespace
}  // namespace pollux::nvmf::admin_test
