#include "drivers/nvme/quirks.h"

#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::Each;
using testing::ElementsAre;

TEST(QuirksOfTest, KnowsDevicesByBothIdentifiers) {
  EXPECT_EQ(QuirksOf(0x8086, 0x0953).queue_depth_min, 256);
  EXPECT_EQ(QuirksOf(0x8087, 0x0953).queue_depth_min, 2);
  EXPECT_TRUE(QuirksOf(0x10ec, 0x5763).shared_ids);
  const Quirks none = QuirksOf(0x1b36, 0x0010);
  EXPECT_EQ(none.disable_delay_ns, 0u);
  EXPECT_EQ(none.queue_delay_ns, 0u);
  EXPECT_FALSE(none.only_first_cns);
  EXPECT_FALSE(none.shared_ids);
}

class QuirksTest : public ControllerWorld {
 protected:
  void PlugOne(uint16_t vendor, uint16_t device) {
    device_options_.vendor = vendor;
    device_options_.device = device;
    Plug();
  }
};

TEST_F(QuirksTest, ShortQueuesAreMadeLonger) {
  attach_options_.io_queue_depth = 16;
  PlugOne(0x8086, 0x0a54);
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().io_queue_depth, 256);
}

TEST_F(QuirksTest, LengthIsStillBoundedByTheDevice) {
  device_options_.controller.queue_entries_max = 64;
  PlugOne(0x8086, 0x0a54);
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().io_queue_depth, 64);
}

TEST_F(QuirksTest, ADeviceThatKnowsTheFirstIdentifyOnlyIsAskedNothingElse) {
  device_options_.controller.namespaces.resize(2);
  device_options_.controller.io_command_sets = false;
  PlugOne(0x8086, 0x5845);
  std::vector<uint32_t> asked;
  model_->edit_data = [&asked](const SubmissionEntry& sqe, std::span<std::byte> data) {
    if (sqe.opc != admin::kIdentify) return;
    asked.push_back(sqe.cdw10 & 0xff);
    // Without a list of namespaces their number has to do.
    if (asked.back() == cns::kController) {
      reinterpret_cast<IdentifyController*>(data.data())->nn = 2;
    }
  };
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_THAT(Namespaces(), ElementsAre(1, 2));
  EXPECT_THAT(asked, Each(testing::AnyOf(cns::kNamespace, cns::kController)));
}

TEST_F(QuirksTest, ADeviceThatIsDisabledIsLeftAloneForAWhile) {
  PlugOne(0x144d, 0xa821);
  // Another driver left it enabled, so that it has to be disabled first.
  model_->WriteRegister(nvme::kAqa.offset, 4, 0x001f001f);
  model_->WriteRegister(nvme::kCc.offset, 4, 0x00460001);
  const uint64_t began = clock_.NowNs();
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_GE(clock_.NowNs() - began, 2300 * kNsPerMs);
}

TEST_F(QuirksTest, QueuesAreUsedWhenTheDeviceHasCaughtUp) {
  PlugOne(0x80ee, 0x4e56);
  const uint64_t began = clock_.NowNs();
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_GE(clock_.NowNs() - began, 100 * kNsPerMs);
}

TEST_F(QuirksTest, IdentifiersThatManyDevicesShareAreNone) {
  const auto identifiers = [this] {
    const pollux_nvme_namespace_info& ns =
        *pollux_nvme_get_namespace_info(pollux_nvme_namespace_find(controller_, 1));
    std::vector<int> bytes(std::begin(ns.nguid), std::end(ns.nguid));
    bytes.insert(bytes.end(), std::begin(ns.eui64), std::end(ns.eui64));
    bytes.insert(bytes.end(), std::begin(ns.uuid), std::end(ns.uuid));
    return bytes;
  };
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_THAT(identifiers(), testing::Not(Each(0)));
  Detach();
  PlugOne(0x1e4b, 0x1202);
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_THAT(identifiers(), Each(0));
}

}  // namespace
}  // namespace pollux::nvme
