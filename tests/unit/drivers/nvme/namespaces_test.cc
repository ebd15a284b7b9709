#include "drivers/nvme/namespaces.h"

#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class NamespacesTest : public ControllerWorld {
 protected:
  void AttachWith(size_t count) {
    device_options_.controller.namespaces.assign(count, models::ModelNamespace::Options{});
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    Turns(20);
    events_.clear();
  }
  const pollux_nvme_namespace_info& Info(uint32_t nsid) {
    return *pollux_nvme_get_namespace_info(pollux_nvme_namespace_find(controller_, nsid));
  }
};

TEST_F(NamespacesTest, ComeWithAnEvent) {
  AttachWith(1);
  models::ModelNamespace::Options options;
  options.blocks = 123;
  const uint32_t nsid = model_->AddNamespace(options);
  Turns(100);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_ADDED), ElementsAre(nsid));
  EXPECT_EQ(Info(nsid).blocks, 123u);
}

TEST_F(NamespacesTest, GoWithAnEventAndTheirHandlesStay) {
  AttachWith(2);
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(controller_, 2);
  model_->RemoveNamespace(2);
  Turns(100);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_REMOVED), ElementsAre(2));
  EXPECT_THAT(Namespaces(), ElementsAre(1));
  EXPECT_FALSE(pollux_nvme_namespace_active(ns));
  EXPECT_EQ(pollux_nvme_get_namespace_info(ns)->nsid, 2u);
}

TEST_F(NamespacesTest, ChangeTheirSizeUnderTheSameHandle) {
  AttachWith(1);
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(controller_, 1);
  model_->ResizeNamespace(1, 1000);
  Turns(100);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_RESIZED), ElementsAre(1));
  EXPECT_EQ(pollux_nvme_namespace_find(controller_, 1), ns);
  EXPECT_EQ(pollux_nvme_get_namespace_info(ns)->blocks, 1000u);
}

TEST_F(NamespacesTest, AreNewOnesWithAnotherFormat) {
  AttachWith(1);
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(controller_, 1);
  model_->edit_data = [](const SubmissionEntry& sqe, std::span<std::byte> data) {
    if (sqe.opc != admin::kIdentify || (sqe.cdw10 & 0xff) != cns::kNamespace) return;
    reinterpret_cast<IdentifyNamespace*>(data.data())->lbaf[0].lbads = 12;
  };
  ASSERT_EQ(pollux_nvme_rescan(controller_), 0);
  Turns(100);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_REMOVED), ElementsAre(1));
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_ADDED), ElementsAre(1));
  EXPECT_FALSE(pollux_nvme_namespace_active(ns));
  EXPECT_NE(pollux_nvme_namespace_find(controller_, 1), ns);
}

TEST_F(NamespacesTest, StayAsTheyAreWhenNothingChanged) {
  AttachWith(3);
  ASSERT_EQ(pollux_nvme_rescan(controller_), 0);
  Turns(200);
  EXPECT_THAT(events_, IsEmpty());
  EXPECT_THAT(Namespaces(), ElementsAre(1, 2, 3));
}

TEST_F(NamespacesTest, StayAsTheyAreWhenTheListIsRefused) {
  AttachWith(2);
  model_->faults().OnAdmin(admin::kIdentify, 1, status::kInternalError);
  pollux_nvme_rescan(controller_);
  Turns(100);
  EXPECT_THAT(Namespaces(), ElementsAre(1, 2));
  EXPECT_TRUE(Logged("namespaces were not read"));
}

TEST_F(NamespacesTest, ThatChangeDuringAResetAreSeenAfterIt) {
  AttachWith(2);
  pollux_nvme_reset(controller_);
  Turns(2);
  model_->RemoveNamespace(1);
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_THAT(Namespaces(), ElementsAre(2));
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_REMOVED), ElementsAre(1));
}

TEST_F(NamespacesTest, ThatComeAndGoWithoutEndAreStoppedSomewhere) {
  AttachWith(1);
  uint8_t nguid = 0;
  model_->edit_data = [&nguid](const SubmissionEntry& sqe, std::span<std::byte> data) {
    if (sqe.opc != admin::kIdentify || (sqe.cdw10 & 0xff) != cns::kNamespace) return;
    reinterpret_cast<IdentifyNamespace*>(data.data())->nguid[3] = ++nguid;
  };
  for (int i = 0; i < 5000; ++i) {
    pollux_nvme_rescan(controller_);
    Turns(10);
  }
  EXPECT_TRUE(Logged("came and went too often"));
}

TEST_F(NamespacesTest, WithZonesAreDescribed) {
  models::ModelNamespace::Options zoned;
  zoned.blocks = 8192;
  zoned.zones.emplace();
  zoned.zones->zone_blocks = 1024;
  zoned.zones->capacity_blocks = 1000;
  device_options_.controller.namespaces = {zoned};
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(Info(1).csi, POLLUX_NVME_CSI_ZONED);
  EXPECT_EQ(Info(1).zone_blocks, 1024u);
}

}  // namespace
}  // namespace pollux::nvme
