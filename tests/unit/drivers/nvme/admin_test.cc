#include "drivers/nvme/admin.h"

#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class AdminTest : public ControllerWorld {
 protected:
  AdminTest() { Attach(); }
};

TEST_F(AdminTest, WaitsForACommandWithAnyMemory) {
  std::vector<char> data(512);
  const pollux_nvme_command command =
      pollux_nvme_make_get_log_page(log_page::kHealth, kAllNamespaces, data.size(), 0, 0, false);
  pollux_nvme_completion completion;
  ASSERT_EQ(pollux_nvme_admin_wait(controller_, &command, data.data(), data.size(), &completion), 0)
      << pollux_nvme_error_text();
  EXPECT_TRUE(pollux_nvme_ok(completion));
  EXPECT_NE(reinterpret_cast<const HealthLog*>(data.data())->temperature, 0);
}

TEST_F(AdminTest, PassesOnWhatTheDeviceSays) {
  model_->faults().OnAdmin(admin::kGetFeatures, 1, status::kInvalidField);
  const pollux_nvme_command command =
      pollux_nvme_make_get_features(feature::kVolatileWriteCache, 0, 0, 0);
  pollux_nvme_completion completion;
  ASSERT_EQ(pollux_nvme_admin_wait(controller_, &command, nullptr, 0, &completion), 0);
  EXPECT_EQ(pollux_nvme_code(completion), status::kInvalidField);
}

TEST_F(AdminTest, KeepsWhatIsTheDriversOwn) {
  pollux_nvme_completion completion;
  for (const int opcode : {0x00, 0x01, 0x04, 0x05, 0x08, 0x0c, 0x18, 0x7c}) {
    pollux_nvme_command command{};
    command.opc = static_cast<uint8_t>(opcode);
    EXPECT_EQ(pollux_nvme_admin_wait(controller_, &command, nullptr, 0, &completion), -EPERM)
        << opcode;
  }
}

TEST_F(AdminTest, RefusesMoreDataThanACommandCarries) {
  std::vector<char> data(2 << 20);
  const pollux_nvme_command command = pollux_nvme_make_identify(1, 0, 0, 0);
  pollux_nvme_completion completion;
  EXPECT_EQ(pollux_nvme_admin_wait(controller_, &command, data.data(), data.size(), &completion),
            -E2BIG);
}

TEST_F(AdminTest, RefusesMemoryThatTheHostDoesNotKnow) {
  alignas(4096) static char data[4096];
  const pollux_nvme_command command = pollux_nvme_make_identify(1, 0, 0, 0);
  Recorder request;
  EXPECT_EQ(pollux_nvme_admin(controller_, request.c(), &command, data, sizeof(data)), -EFAULT);
  EXPECT_EQ(request.calls, 0);
}

TEST_F(AdminTest, LeavesRoomForTheDriversOwnCommands) {
  model_->HoldCommands(NvmeModel::Hold::kEverything);
  const pollux_nvme_command command = pollux_nvme_make_get_features(6, 0, 0, 0);
  std::deque<Recorder> requests;
  int error = 0;
  while (error == 0 && requests.size() < 100) {
    requests.emplace_back();
    error = pollux_nvme_admin(controller_, requests.back().c(), &command, nullptr, 0);
  }
  EXPECT_EQ(error, -EAGAIN);
  EXPECT_GE(controller_->admin().queue().room(), 3u);
  requests.pop_back();
  Turns(3);
  model_->CompleteAll();
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  Turns(3);
  for (const Recorder& request : requests) EXPECT_EQ(request.calls, 1);
}

TEST_F(AdminTest, ResetsWhenACommandIsNotAnswered) {
  model_->faults().OnAdmin(admin::kGetFeatures, 1, models::Faults::kLost);
  step_ns_ = kNsPerSecond;
  const pollux_nvme_command command = pollux_nvme_make_get_features(6, 0, 0, 0);
  pollux_nvme_completion completion;
  ASSERT_EQ(pollux_nvme_admin_wait(controller_, &command, nullptr, 0, &completion), 0);
  EXPECT_EQ(pollux_nvme_code(completion), POLLUX_NVME_ABORTED_BY_HOST);
  step_ns_ = kNsPerMs;
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(failure(), -ETIMEDOUT);
}

TEST_F(AdminTest, EndsWithARemoval) {
  model_->Disappear();
  const pollux_nvme_command command = pollux_nvme_make_get_features(6, 0, 0, 0);
  pollux_nvme_completion completion;
  ASSERT_EQ(pollux_nvme_admin_wait(controller_, &command, nullptr, 0, &completion), 0);
  EXPECT_EQ(pollux_nvme_code(completion), POLLUX_NVME_HOST_PATHING_ERROR);
  EXPECT_EQ(pollux_nvme_admin_wait(controller_, &command, nullptr, 0, &completion), -ENXIO);
  EXPECT_THAT(std::string(pollux_nvme_error_text()), HasSubstr("gone"));
}

TEST_F(AdminTest, CannotBeWaitedForInACallback) {
  struct Waits final : Request {
    void OnComplete(Completion) override {
      const pollux_nvme_command command = pollux_nvme_make_get_features(6, 0, 0, 0);
      pollux_nvme_completion completion;
      error = pollux_nvme_admin_wait(controller, &command, nullptr, 0, &completion);
    }
    pollux_nvme_controller* controller = nullptr;
    int error = 0;
  } request;
  request.controller = controller_;
  const pollux_nvme_command command = pollux_nvme_make_get_features(6, 0, 0, 0);
  ASSERT_EQ(pollux_nvme_admin(controller_, request.c(), &command, nullptr, 0), 0);
  for (int i = 0; i < 10 && request.error == 0; ++i) Turn();
  EXPECT_EQ(request.error, -EDEADLK);
}

TEST_F(AdminTest, SuffersInjectedErrors) {
  pollux_nvme_injection injection{};
  injection.admin = true;
  injection.opc = admin::kGetFeatures;
  injection.do_not_submit = true;
  injection.count = 1;
  injection.status = status::kInternalError;
  ASSERT_EQ(pollux_nvme_inject(controller_, &injection), 0);
  Turns(2);
  const pollux_nvme_command command = pollux_nvme_make_get_features(6, 0, 0, 0);
  pollux_nvme_completion completion;
  pollux_nvme_admin_wait(controller_, &command, nullptr, 0, &completion);
  EXPECT_EQ(pollux_nvme_code(completion), status::kInternalError);
  EXPECT_EQ(pollux_nvme_remove_injection(controller_, true, admin::kGetFeatures), 0);
  EXPECT_EQ(pollux_nvme_remove_injection(controller_, true, admin::kGetFeatures), -ENOENT);
}

TEST_F(AdminTest, WritesFirmwareInPieces) {
  std::vector<char> image(300 << 10, 'f');
  pollux_nvme_completion completion;
  ASSERT_EQ(pollux_nvme_firmware_update(controller_, image.data(), image.size(), 1, 1, &completion),
            0)
      << pollux_nvme_error_text();
  EXPECT_EQ(pollux_nvme_firmware_update(controller_, image.data(), 3, 1, 1, &completion), -EINVAL);
  model_->faults().OnAdmin(admin::kFirmwareImageDownload, 2, status::kInternalError);
  EXPECT_EQ(pollux_nvme_firmware_update(controller_, image.data(), image.size(), 1, 1, &completion),
            -EIO);
  EXPECT_EQ(pollux_nvme_code(completion), status::kInternalError);
}

TEST_F(AdminTest, HandsOutEachQueueOnce) {
  pollux_nvme_queue *first = nullptr, *second = nullptr, *third = nullptr;
  ASSERT_EQ(pollux_nvme_queue_take(controller_, 1, &first), 0);
  EXPECT_EQ(pollux_nvme_queue_id(first), 2);
  EXPECT_EQ(pollux_nvme_queue_take(controller_, 1, &second), -EBUSY);
  EXPECT_EQ(pollux_nvme_queue_take(controller_, 2, &second), -ENOSPC);
  ASSERT_EQ(pollux_nvme_queue_take(controller_, -1, &second), 0);
  EXPECT_EQ(pollux_nvme_queue_take(controller_, -1, &third), -ENOSPC);
  EXPECT_EQ(pollux_nvme_detach_begin(controller_), -EBUSY);
  pollux_nvme_queue_return(first);
  pollux_nvme_queue_return(second);
}

TEST(TransportIdTest, IsReadInEveryForm) {
  pollux_nvme_transport_id id;
  ASSERT_EQ(pollux_nvme_transport_id_parse("trtype:PCIe traddr:0000:01:00.0", &id), 0);
  EXPECT_EQ(id.trtype, POLLUX_NVME_TRANSPORT_PCIE);
  EXPECT_STREQ(id.traddr, "0000:01:00.0");
  ASSERT_EQ(pollux_nvme_transport_id_parse("01:00.0", &id), 0);
  EXPECT_STREQ(id.traddr, "0000:01:00.0");
  ASSERT_EQ(pollux_nvme_transport_id_parse("/run/vm/cntrl", &id), 0);
  EXPECT_EQ(id.trtype, POLLUX_NVME_TRANSPORT_VFIOUSER);
  for (const char* wrong : {"", "nvme0", "trtype:PCIe", "trtype:RDMA traddr:1", "traddr:01:00.0",
                            "trtype:PCIe traddr:zz", "trtype:PCIe bogus"}) {
    EXPECT_EQ(pollux_nvme_transport_id_parse(wrong, &id), -EINVAL) << wrong;
  }
}

}  // namespace
}  // namespace pollux::nvme
