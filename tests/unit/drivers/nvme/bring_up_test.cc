#include "drivers/nvme/bring_up.h"

#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class BringUpTest : public ControllerWorld {};

TEST_F(BringUpTest, AttachesAndDescribesTheController) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_THAT(model_->complaints(), IsEmpty());
  EXPECT_STREQ(info().serial_number, "POLLUX-MODEL-0");
  EXPECT_EQ(info().version, 0x020000u);
  EXPECT_EQ(info().io_queues, 2);
  EXPECT_EQ(info().io_queue_depth, 16);
  EXPECT_EQ(info().transfer_bytes_max, 4096u << 5);
  EXPECT_TRUE(info().shadow_doorbells);
  EXPECT_THAT(Namespaces(), ElementsAre(1));
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_ADDED), ElementsAre(1));
}

}  // namespace
}  // namespace pollux::nvme
