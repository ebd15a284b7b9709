#include "drivers/nvme/identify.h"

#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A namespace that is in order, for a test to spoil.
IdentifyNamespace GoodNamespace() {
  IdentifyNamespace identify{};
  identify.nsze = 1000;
  identify.ncap = 1000;
  identify.nlbaf = 1;
  identify.lbaf[0].lbads = 9;
  identify.lbaf[1].lbads = 12;
  identify.lbaf[1].ms = 8;
  return identify;
}

ControllerFacts Controller() {
  ControllerFacts facts{};
  facts.info.transfer_bytes_max = 128 << 10;
  return facts;
}

Result<std::optional<Namespace::Facts>> Describe(const IdentifyNamespace& identify) {
  return DescribeNamespace(7, identify, NamespaceIds{}, nullptr, Controller());
}

TEST(DescribeNamespaceTest, ReadsTheFormatInUse) {
  IdentifyNamespace identify = GoodNamespace();
  identify.flbas = 0x11;  // Format 1, extended.
  identify.dps = 0x1;
  const auto described = Describe(identify);
  ASSERT_TRUE(described.ok()) << described.status();
  const pollux_nvme_namespace_info& info = (*described)->info;
  EXPECT_EQ(info.nsid, 7u);
  EXPECT_EQ(info.block_bytes, 4096u);
  EXPECT_EQ(info.metadata_bytes, 8u);
  EXPECT_TRUE(info.metadata_extended);
  EXPECT_EQ(info.protection_type, 1);
  EXPECT_EQ(info.transfer_blocks_max, (128u << 10) / (4096 + 8));
}

TEST(DescribeNamespaceTest, TakesNoBlocksForAnInactiveNamespace) {
  IdentifyNamespace identify = GoodNamespace();
  identify.nsze = 0;
  const auto described = Describe(identify);
  ASSERT_TRUE(described.ok());
  EXPECT_FALSE(described->has_value());
}

TEST(DescribeNamespaceTest, TellsWhatACommandMayNameAtMost) {
  ControllerFacts controller = Controller();
  controller.identify.oncs = oncs::kWriteZeroes | oncs::kVerify | oncs::kWriteUncorrectable;
  controller.limits.wzsl = 3;  // 8 pages of 4 KiB.
  controller.limits.wusl = 63;
  controller.limits.dmrl = 8;
  controller.limits.dmrsl = 1000;
  controller.limits.dmsl = uint64_t{1} << 40;
  const auto described = DescribeNamespace(7, GoodNamespace(), NamespaceIds{}, nullptr, controller);
  ASSERT_TRUE(described.ok()) << described.status();
  const pollux_nvme_namespace_info& info = (*described)->info;
  EXPECT_EQ(info.write_zeroes_blocks_max, 64u);
  EXPECT_EQ(info.verify_blocks_max, 0u);
  EXPECT_EQ(info.write_uncorrectable_blocks_max, 0u);  // More than a command can name.
  EXPECT_EQ(info.deallocate_ranges_max, 8u);
  EXPECT_EQ(info.deallocate_range_blocks_max, 1000u);
  EXPECT_EQ(info.deallocate_blocks_max, uint64_t{1} << 40);
}

TEST(DescribeNamespaceTest, HasNoUseForACommandThatMayNotNameABlock) {
  ControllerFacts controller = Controller();
  controller.identify.oncs = oncs::kWriteZeroes | oncs::kVerify;
  controller.limits.wzsl = 1;
  IdentifyNamespace identify = GoodNamespace();
  identify.lbaf[0].lbads = 14;
  const auto described = DescribeNamespace(7, identify, NamespaceIds{}, nullptr, controller);
  ASSERT_TRUE(described.ok()) << described.status();
  EXPECT_FALSE((*described)->info.write_zeroes);
  EXPECT_TRUE((*described)->info.verify);
}

TEST(DescribeNamespaceTest, RefusesBlocksOfImpossibleSizes) {
  for (int lbads = 0; lbads < 256; ++lbads) {
    IdentifyNamespace identify = GoodNamespace();
    identify.lbaf[0].lbads = static_cast<uint8_t>(lbads);
    EXPECT_EQ(Describe(identify).ok(), lbads >= 9 && lbads <= 16) << lbads;
  }
}

TEST(DescribeNamespaceTest, RefusesAFormatThatIsNotThere) {
  IdentifyNamespace identify = GoodNamespace();
  identify.flbas = 2;
  EXPECT_FALSE(Describe(identify).ok());
  identify.nlbaf = 255;
  identify.flbas = 0x6f;
  EXPECT_FALSE(Describe(identify).ok());
}

TEST(DescribeNamespaceTest, RefusesSizesThatCannotBe) {
  IdentifyNamespace identify = GoodNamespace();
  identify.nsze = ~uint64_t{0};
  EXPECT_FALSE(Describe(identify).ok());
  identify.nsze = uint64_t{1} << 55;  // 2^64 bytes.
  EXPECT_FALSE(Describe(identify).ok());
  identify.nsze = 10;
  identify.ncap = 11;
  EXPECT_FALSE(Describe(identify).ok());
}

TEST(DescribeNamespaceTest, RefusesProtectionWithoutRoomForIt) {
  IdentifyNamespace identify = GoodNamespace();
  identify.dps = 1;
  EXPECT_FALSE(Describe(identify).ok());
  identify.flbas = 1;
  EXPECT_TRUE(Describe(identify).ok());
  identify.dps = 4;
  EXPECT_FALSE(Describe(identify).ok());
}

TEST(DescribeNamespaceTest, RefusesMetadataWithoutEnd) {
  IdentifyNamespace identify = GoodNamespace();
  identify.flbas = 1;
  identify.lbaf[1].ms = 0xffff;
  EXPECT_FALSE(Describe(identify).ok());
}

TEST(DescribeNamespaceTest, RefusesABlockThatNoCommandCarries) {
  IdentifyNamespace identify = GoodNamespace();
  identify.lbaf[0].lbads = 16;
  ControllerFacts controller = Controller();
  controller.info.transfer_bytes_max = 4096;
  EXPECT_FALSE(DescribeNamespace(7, identify, NamespaceIds{}, nullptr, controller).ok());
}

TEST(DescribeNamespaceTest, RefusesZonesLargerThanTheNamespace) {
  IdentifyZonedNamespace zoned{};
  for (const uint64_t blocks : {uint64_t{0}, uint64_t{1001}}) {
    zoned.lbafe[0].zsze = blocks;
    EXPECT_FALSE(DescribeNamespace(7, GoodNamespace(), NamespaceIds{}, &zoned, Controller()).ok());
  }
  zoned.lbafe[0].zsze = 100;
  zoned.mor = 0xffffffff;
  zoned.mar = 3;
  const auto described =
      DescribeNamespace(7, GoodNamespace(), NamespaceIds{}, &zoned, Controller());
  ASSERT_TRUE(described.ok());
  EXPECT_EQ((*described)->info.open_zones_max, 0u);
  EXPECT_EQ((*described)->info.active_zones_max, 4u);
}

using Page = std::array<std::byte, kIdentifyBytes>;

Page ListOf(const std::vector<uint32_t>& nsids) {
  Page page{};
  for (size_t i = 0; i < nsids.size(); ++i) {
    const Le32 wire = nsids[i];
    memcpy(page.data() + i * sizeof(wire), &wire, sizeof(wire));
  }
  return page;
}

TEST(ReadNamespaceListTest, EndsAtZero) {
  std::vector<uint32_t> found;
  const auto more = ReadNamespaceList(ListOf({1, 5, 9}), 0, found);
  ASSERT_TRUE(more.ok());
  EXPECT_FALSE(*more);
  EXPECT_THAT(found, ElementsAre(1, 5, 9));
}

TEST(ReadNamespaceListTest, AsksForMoreAfterAFullList) {
  std::vector<uint32_t> nsids(1024), found;
  for (uint32_t i = 0; i < 1024; ++i) nsids[i] = i + 1;
  EXPECT_TRUE(*ReadNamespaceList(ListOf(nsids), 0, found));
}

TEST(ReadNamespaceListTest, RefusesListsThatDoNotAscend) {
  std::vector<uint32_t> found;
  EXPECT_FALSE(ReadNamespaceList(ListOf({1, 1}), 0, found).ok());
  EXPECT_FALSE(ReadNamespaceList(ListOf({5}), 5, found).ok());
  EXPECT_FALSE(ReadNamespaceList(ListOf({0xffffffff}), 0, found).ok());
}

Page DescriptorsOf(const std::vector<uint8_t>& bytes) {
  Page page{};
  memcpy(page.data(), bytes.data(), bytes.size());
  return page;
}

TEST(ReadNamespaceDescriptorsTest, FindsTheCommandSet) {
  const auto ids = ReadNamespaceDescriptors(
      DescriptorsOf({kNidtEui64, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, kNidtCsi, 1, 0, 0, 2}));
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->csi, kCsiZoned);
  EXPECT_EQ(ids->eui64[7], 8);
}

TEST(ReadNamespaceDescriptorsTest, RefusesWrongLengths) {
  EXPECT_FALSE(ReadNamespaceDescriptors(DescriptorsOf({kNidtUuid, 15})).ok());
  EXPECT_FALSE(ReadNamespaceDescriptors(DescriptorsOf({kNidtCsi, 200})).ok());
  Page page{};
  // Unknown types, one after the other, the last of which ends behind the page.
  for (size_t at = 0; at + 4 < page.size(); at += 4 + 251) {
    page[at] = std::byte{99};
    page[at + 1] = std::byte{251};
  }
  EXPECT_FALSE(ReadNamespaceDescriptors(page).ok());
}

TEST(CleanTextTest, ShowsNothingThatATerminalObeys) {
  const char text[] = {'A', '\x1b', ' ', 'B', '\xff', ' ', ' '};
  EXPECT_EQ(CleanText(text), "A? B?");
}

// --- Against the model.

class IdentifyTest : public ControllerWorld {
 protected:
  // The controller's data as the device sends it, changed.
  template <typename Edit>
  void Lie(Edit edit) {
    Plug().edit_data = [edit](const SubmissionEntry& sqe, std::span<std::byte> data) {
      if (sqe.opc != admin::kIdentify || (sqe.cdw10 & 0xff) != cns::kController) return;
      edit(*reinterpret_cast<IdentifyController*>(data.data()));
    };
  }
};

TEST_F(IdentifyTest, BoundsTransfersByTheDriversListsWhenTheDeviceHasNoLimit) {
  for (const uint8_t mdts : std::initializer_list<uint8_t>{0, 20, 63, 255}) {
    Lie([mdts](IdentifyController& identify) { identify.mdts = mdts; });
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    EXPECT_EQ(info().transfer_bytes_max, kListsTransferBytesMax);
    Detach();
  }
}

TEST_F(IdentifyTest, ReadsTheLimitsOfCommandsThatMoveNothing) {
  for (const bool command_sets : {false, true}) {
    device_options_.controller.io_command_sets = command_sets;
    Plug().edit_data = [](const SubmissionEntry& sqe, std::span<std::byte> data) {
      if (sqe.opc != admin::kIdentify || sqe.cdw10 != cns::kCsController || sqe.cdw11 != 0) return;
      reinterpret_cast<IdentifyNvmController*>(data.data())->dmrsl = 77;
    };
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    // A device that does not tell is believed to have none.
    EXPECT_EQ(pollux_nvme_get_namespace_info(pollux_nvme_namespace_find(controller_, 1))
                  ->deallocate_range_blocks_max,
              command_sets ? 77u : 0u);
    Detach();
  }
}

TEST_F(IdentifyTest, FailsWhenThereCanBeNoNamespace) {
  Lie([](IdentifyController& identify) { identify.nn = 0; });
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("NN"));
}

TEST_F(IdentifyTest, FailsWithQueueEntriesOfAnotherSize) {
  Lie([](IdentifyController& identify) { identify.sqes = 0x77; });
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
}

TEST_F(IdentifyTest, OutlivesRandomIdentifyData) {
  uint64_t random = 88172645463325252;
  for (int round = 0; round < 200; ++round) {
    Plug().edit_data = [&random](const SubmissionEntry&, std::span<std::byte> data) {
      for (int i = 0; i < 64; ++i) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        data[(random >> 8) % data.size()] = static_cast<std::byte>(random);
      }
    };
    Attach();
    Detach();
  }
}

TEST_F(IdentifyTest, LeavesOutTheNamespaceThatLiesAndKeepsTheOthers) {
  device_options_.controller.namespaces.resize(3);
  Plug().edit_data = [](const SubmissionEntry& sqe, std::span<std::byte> data) {
    if (sqe.opc != admin::kIdentify || (sqe.cdw10 & 0xff) != cns::kNamespace || sqe.nsid != 2) {
      return;
    }
    reinterpret_cast<IdentifyNamespace*>(data.data())->lbaf[0].lbads = 5;
  };
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  EXPECT_THAT(Namespaces(), ElementsAre(1, 3));
  EXPECT_TRUE(Logged("namespace 2"));
}

}  // namespace
}  // namespace pollux::nvme
