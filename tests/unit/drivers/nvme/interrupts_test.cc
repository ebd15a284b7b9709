#include "drivers/nvme/interrupts.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <map>
#include <string>

#include "core/memory/region_registry.h"
#include "drivers/nvme/event_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

bool Readable(int fd) {
  pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&state, 1, 0) == 1;
}

// The interrupts of a device, and nothing else of it.
class InterruptDevice final : public pci::PciDevice {
 public:
  explicit InterruptDevice(uint32_t vectors) : eventfds(vectors, -1) {}

  const std::string& name() const override { return name_; }
  uint32_t ReadConfig(uint32_t, size_t) override { return 0; }
  void WriteConfig(uint32_t, size_t, uint32_t) override {}
  uint64_t bar_bytes(int) const override { return 0; }
  uint32_t Read32(int, uint64_t) override { return 0; }
  uint64_t Read64(int, uint64_t) override { return 0; }
  void Write32(int, uint64_t, uint32_t) override {}
  void Write64(int, uint64_t, uint64_t) override {}
  std::byte* MapBar(int, uint64_t, size_t) override { return nullptr; }
  pci::DmaMap& dma() override { abort(); }
  uint32_t interrupt_vectors() const override { return static_cast<uint32_t>(eventfds.size()); }
  Status SetInterrupt(uint32_t vector, int eventfd) override {
    if (vector == refuses) return NoSpace("no more vectors");
    eventfds[vector] = eventfd;
    return OkStatus();
  }
  void UnmaskInterrupt(uint32_t vector) override { unmasked += vector == 0 ? 1 : 100; }
  Status Reset() override { return OkStatus(); }
  Status gone() override { return OkStatus(); }
  int removal_fd() const override { return removal.get(); }

  void Interrupt(uint32_t vector) { eventfd_write(eventfds[vector], 1); }

  std::vector<int> eventfds;
  uint32_t refuses = ~0u;
  int unmasked = 0;
  UniqueFd removal;

 private:
  const std::string name_ = "interrupts";
};

TEST(NvmeInterruptsTest, EachQueueHasAVectorAsLongAsThereAreSome) {
  InterruptDevice device(3);
  Interrupts interrupts(device);
  ASSERT_TRUE(interrupts.Start(true, 5).ok());
  EXPECT_EQ(interrupts.vectors(), 3u);
  EXPECT_GE(interrupts.QueueFd(2), 0);
  EXPECT_EQ(interrupts.QueueFd(3), -1);
  device.Interrupt(2);
  EXPECT_TRUE(Readable(interrupts.QueueFd(2)));
  EXPECT_FALSE(Readable(interrupts.QueueFd(1)));
  EXPECT_FALSE(Readable(interrupts.controller_fd()));
  device.Interrupt(0);
  EXPECT_TRUE(Readable(interrupts.controller_fd()));
}

TEST(NvmeInterruptsTest, TakesNoMoreVectorsThanItHasQueues) {
  InterruptDevice device(2048);
  Interrupts interrupts(device);
  ASSERT_TRUE(interrupts.Start(true, 2).ok());
  EXPECT_EQ(interrupts.vectors(), 3u);
  EXPECT_EQ(device.eventfds[3], -1);
}

TEST(NvmeInterruptsTest, TheControllersIsUnmaskedOncePerInterrupt) {
  InterruptDevice device(1);  // As with INTx, which masks itself.
  Interrupts interrupts(device);
  ASSERT_TRUE(interrupts.Start(true, 4).ok());
  interrupts.Clear();
  EXPECT_EQ(device.unmasked, 0);
  for (int i = 1; i <= 3; ++i) {
    device.Interrupt(0);
    interrupts.Clear();
    EXPECT_EQ(device.unmasked, i);
    EXPECT_FALSE(Readable(interrupts.controller_fd()));
    interrupts.Clear();
    EXPECT_EQ(device.unmasked, i);
  }
}

TEST(NvmeInterruptsTest, TheRemovalIsHeardOnTheControllersDescriptor) {
  for (const bool wanted : {false, true}) {
    InterruptDevice device(2);
    device.removal = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    Interrupts interrupts(device);
    ASSERT_TRUE(interrupts.Start(wanted, 1).ok());
    EXPECT_EQ(interrupts.vectors(), wanted ? 2u : 0u);
    EXPECT_FALSE(Readable(interrupts.controller_fd()));
    EXPECT_FALSE(interrupts.RemovalAnnounced());
    eventfd_write(device.removal.get(), 1);
    interrupts.Clear();  // It stays announced.
    EXPECT_TRUE(Readable(interrupts.controller_fd()));
    EXPECT_TRUE(interrupts.RemovalAnnounced());
  }
}

TEST(NvmeInterruptsTest, WithoutAnyThereIsNothingToWaitFor) {
  InterruptDevice device(0);
  Interrupts interrupts(device);
  ASSERT_TRUE(interrupts.Start(true, 4).ok());
  EXPECT_EQ(interrupts.controller_fd(), -1);
  EXPECT_EQ(interrupts.admin_fd(), -1);
  EXPECT_EQ(interrupts.QueueFd(1), -1);
  interrupts.Clear();
  EXPECT_FALSE(interrupts.RemovalAnnounced());
}

TEST(NvmeInterruptsTest, ThoseThatWereSetUpAreTakenBack) {
  InterruptDevice device(4);
  device.refuses = 2;
  {
    Interrupts interrupts(device);
    EXPECT_EQ(ErrnoOf(interrupts.Start(true, 3)), ENOSPC);
    EXPECT_EQ(interrupts.vectors(), 2u);  // What there is serves.
    EXPECT_GE(device.eventfds[1], 0);
  }
  for (const int fd : device.eventfds) EXPECT_EQ(fd, -1);
}

TEST(NvmeInterruptsTest, AHostilePeerHoldsNobodyUp) {
  InterruptDevice device(2);
  Interrupts interrupts(device);
  ASSERT_TRUE(interrupts.Start(true, 1).ok());
  fcntl(device.eventfds[0], F_SETFL, 0);  // From now on a read of an empty one waits.
  device.Interrupt(0);
  eventfd_t taken = 0;
  ASSERT_EQ(eventfd_read(device.eventfds[0], &taken), 0);
  interrupts.Clear();
  ASSERT_EQ(eventfd_write(device.eventfds[0], UINT64_MAX - 1), 0);
  interrupts.Clear();
  interrupts.Clear();
  EXPECT_EQ(device.unmasked, 1);
}

// --- A controller with interrupts.

class NvmeWakingTest : public ControllerWorld {
 protected:
  NvmeWakingTest() {
    attach_options_.interrupts = true;
    attach_options_.no_shadow_doorbells = true;
  }
  ~NvmeWakingTest() override {
    if (controller_ != nullptr) Detach();
    FreeData();
  }
  void Settle() { Turns(20); }
};

TEST_F(NvmeWakingTest, ACompletionRaisesTheDescriptorOfItsQueue) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  pollux_nvme_queue* const first = TakeQueue();
  pollux_nvme_queue* const second = TakeQueue();
  const int fds[] = {pollux_nvme_queue_event_fd(first), pollux_nvme_queue_event_fd(second)};
  Settle();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pollux_nvme_queue_prepare_sleep(first));
    ASSERT_TRUE(pollux_nvme_queue_prepare_sleep(second));
    Recorder read;
    ASSERT_EQ(Read(second, read), 0);
    pollux_nvme_queue_ring(second);
    EXPECT_FALSE(Readable(fds[1]));
    model_->Step();
    EXPECT_TRUE(Readable(fds[1]));
    EXPECT_FALSE(Readable(fds[0]));
    pollux_nvme_queue_poll(second, 0);
    EXPECT_EQ(read.calls, 1);
  }
}

TEST_F(NvmeWakingTest, QueuesBeyondTheVectorsHaveNone) {
  device_options_.controller.interrupt_vectors = 2;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().interrupt_vectors, 2u);
  EXPECT_GE(pollux_nvme_queue_event_fd(TakeQueue()), 0);
  EXPECT_EQ(pollux_nvme_queue_event_fd(TakeQueue()), -1);
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(NvmeWakingTest, AnEventOfTheDeviceRaisesTheControllers) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  Settle();
  const int fd = pollux_nvme_controller_event_fd(controller_);
  pollux_nvme_controller_poll(controller_);
  EXPECT_FALSE(Readable(fd));
  model_->PostEvent(async_event::kHealthStatus, 1, log_page::kHealth);
  model_->Step();
  EXPECT_TRUE(Readable(fd));
}

TEST_F(NvmeWakingTest, ADeviceThatIsWantedBackIsGone) {
  for (const bool interrupts : {true, false}) {
    const UniqueFd removal(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    device_options_.removal_fd = removal.get();
    attach_options_.interrupts = interrupts;
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    Settle();
    const int fd = pollux_nvme_controller_event_fd(controller_);
    pollux_nvme_controller_poll(controller_);
    EXPECT_FALSE(Readable(fd));
    eventfd_write(removal.get(), 1);
    EXPECT_TRUE(Readable(fd));
    PollUntil(POLLUX_NVME_STATE_GONE);
    EXPECT_EQ(failure(), -ENODEV);
    EXPECT_THAT(failure_text(), HasSubstr("given back"));
    Detach();
  }
}

TEST_F(NvmeWakingTest, ResetsKeepTheDescriptors) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  pollux_nvme_queue* const queue = TakeQueue();
  const int fd = pollux_nvme_queue_event_fd(queue);
  ASSERT_EQ(pollux_nvme_reset(controller_), 0);
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(pollux_nvme_queue_event_fd(queue), fd);
  ASSERT_TRUE(pollux_nvme_queue_prepare_sleep(queue));
  Recorder read;
  ASSERT_EQ(Read(queue, read), 0);
  pollux_nvme_queue_ring(queue);
  model_->Step();
  EXPECT_TRUE(Readable(fd));
  pollux_nvme_queue_poll(queue, 0);
}

}  // namespace
}  // namespace pollux::nvme
