#include "drivers/ioat_accel/ioat_devices.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "core/memory/memory.h"
#include "drivers/ioat/host.h"
#include "tests/models/ioat_model_device.h"
#include "tests/unit/block_world.h"

namespace pollux {
namespace {

using models::IoatModel;
using models::IoatModelDevice;
using testing_world::BlockWorld;

constexpr size_t kBytes = 64 << 10;

// An operation that counts its ends.
struct Operation final : AccelOperation {
  explicit Operation(AccelOpcode code) { opcode = code; }
  void OnComplete() override { ++ends; }
  int ends = 0;
  iovec to{}, from[3]{};
};

// Is among `models` as long as it lives.
class ListedModel final : public IoatModelDevice {
 public:
  using Models = std::map<std::string, IoatModelDevice*>;
  ListedModel(const Options& options, RegionRegistry& regions, std::string address, Models& models)
      : IoatModelDevice(options, regions), address_(std::move(address)), models_(models) {
    models_[address_] = this;
  }
  ~ListedModel() override { models_.erase(address_); }

 private:
  const std::string address_;
  Models& models_;
};

// Devices made of memory by their addresses, which execute a descriptor of each channel in a turn.
class IoatDevicesTest : public testing::Test, private IoatDevices::Observer {
 protected:
  IoatDevicesTest() {
    memory_ = *SharedPages::Map("data", 8 * kBytes, false, regions_);
    for (size_t i = 0; i < 8 * kBytes; ++i) {
      memory_->address()[i] = static_cast<std::byte>(i * 7 + i / 251);
    }
    IoatDevices::Environment environment{.accel = accel_,
                                         .reactors = *world_.reactors,
                                         .control = world_.control,
                                         .regions = regions_,
                                         .clock = &world_.clock};
    environment.attach_begin = [this](pollux_ioat_host* host, const char* address,
                                      const pollux_ioat_attach_options* options,
                                      pollux_ioat_device** device) {
      auto model = std::make_unique<ListedModel>(options_, regions_, address, models_);
      if (before_start_) before_start_(model->model());
      const auto begun = host->AttachDeviceBegin(
          std::move(model), address, options == nullptr ? pollux_ioat_attach_options{} : *options);
      if (!begun.ok()) return -ErrnoOf(begun.status());
      *device = *begun;
      return 0;
    };
    IoatDevices::Observer& observer = *this;
    devices_ = std::make_unique<IoatDevices>(environment, &observer);
  }
  ~IoatDevicesTest() override {
    Run(devices_->Stop());
    for (const Operation& each : operations_) EXPECT_LE(each.ends, 1);
    memory_.reset();
  }

  void OnDeviceGone(const std::string& address, const Status& why) override {
    gone_.push_back(address + ": " + std::string(why.message()));
  }

  void Turn() {
    for (const auto& [address, device] : models_) device->model().Step();
    world_.Turn();
    world_.clock.Advance(50 * kNsPerUs);
  }
  template <typename T>
  T Run(Task<T> task) {
    world_.Begin(task);
    for (int i = 0; i < 200'000 && !task.done(); ++i) Turn();
    CHECK(task.done(), "it never came to an end");
    return task.TakeResult();
  }
  Status Attach(const std::string& address = "a") { return Run(devices_->Attach(address)); }
  Status Detach(const std::string& address = "a") { return Run(devices_->Detach(address)); }
  IoatModel& model(const std::string& address = "a") { return models_.at(address)->model(); }

  std::byte* Area(size_t i) { return memory_->address() + i * kBytes; }
  Operation& Copy(size_t to, size_t from, size_t bytes = kBytes) {
    Operation& copy = operations_.emplace_back(AccelOpcode::kCopy);
    copy.to = {Area(to), bytes};
    copy.from[0] = {Area(from), bytes};
    copy.destination = {&copy.to, 1};
    copy.source = {copy.from, 1};
    return copy;
  }
  // Whether it has ended at once.
  bool Submit(Operation& operation, size_t reactor = 0) {
    bool ended = false;
    world_.On(reactor,
              [&] { ended = accel_.channel((*world_.reactors)[reactor]).Submit(operation); });
    return ended;
  }
  void Finish(const Operation& operation) {
    for (int i = 0; i < 200'000 && operation.ends == 0; ++i) Turn();
    ASSERT_EQ(operation.ends, 1);
  }
  uint64_t Executed(AccelOpcode opcode, std::string_view module) {
    for (const AccelOperationStatistics& one : accel_.statistics().operations) {
      if (one.opcode == opcode && one.module == module) return one.executed;
    }
    return 0;
  }
  std::string AssignedTo(AccelOpcode opcode) { return std::string(accel_.assigned(opcode).name()); }

  BlockWorld world_{2};
  RegionRegistry regions_;
  std::unique_ptr<SharedPages> memory_;
  Accel accel_{*world_.reactors};
  IoatModelDevice::Options options_{.device = {.channels = 2}};
  std::function<void(IoatModel&)> before_start_;
  ListedModel::Models models_;
  std::unique_ptr<IoatDevices> devices_;
  std::deque<Operation> operations_;
  std::vector<std::string> gone_;
};

TEST_F(IoatDevicesTest, ADeviceExecutesForAllReactors) {
  EXPECT_EQ(AssignedTo(AccelOpcode::kCopy), "software");
  ASSERT_TRUE(Attach().ok());
  for (const AccelOpcode opcode : {AccelOpcode::kCopy, AccelOpcode::kFill, AccelOpcode::kXor}) {
    EXPECT_EQ(AssignedTo(opcode), "ioat") << AccelOpcodeName(opcode);
  }
  EXPECT_EQ(AssignedTo(AccelOpcode::kCrc32c), "software");
  for (size_t reactor = 0; reactor < 2; ++reactor) {
    Operation& copy = Copy(1 + 2 * reactor, 2 * reactor);
    EXPECT_FALSE(Submit(copy, reactor));
    EXPECT_EQ(copy.ends, 0);
    Finish(copy);
    EXPECT_EQ(copy.status, AccelStatus::kSuccess);
    EXPECT_EQ(memcmp(Area(1 + 2 * reactor), Area(2 * reactor), kBytes), 0);
  }
  EXPECT_EQ(Executed(AccelOpcode::kCopy, "ioat"), 2u);
  EXPECT_EQ(Executed(AccelOpcode::kCopy, "software"), 0u);
  const auto views = devices_->devices();
  ASSERT_EQ(views.size(), 1u);
  ASSERT_EQ(views[0].channels.size(), 2u);
  for (const IoatDevices::ChannelView& channel : views[0].channels) {
    EXPECT_EQ(channel.state, "running");
    EXPECT_EQ(channel.reactor, &(*world_.reactors)[channel.index]);
    EXPECT_GT(channel.statistics.completed, 1u) << "with those of its test";
  }
}

TEST_F(IoatDevicesTest, FillsAndXors) {
  ASSERT_TRUE(Attach().ok());
  Operation& fill = operations_.emplace_back(AccelOpcode::kFill);
  fill.to = {Area(0), kBytes};
  fill.destination = {&fill.to, 1};
  fill.pattern = 0x0102030405060708;
  EXPECT_FALSE(Submit(fill));
  Finish(fill);
  for (size_t i = 0; i < kBytes; ++i) ASSERT_EQ(Area(0)[i], static_cast<std::byte>(8 - i % 8)) << i;
  Operation& sum = operations_.emplace_back(AccelOpcode::kXor);
  sum.to = {Area(4), kBytes};
  sum.destination = {&sum.to, 1};
  for (size_t i = 0; i < 3; ++i) sum.from[i] = {Area(i), kBytes};
  sum.source = sum.from;
  EXPECT_FALSE(Submit(sum));
  Finish(sum);
  for (size_t i = 0; i < kBytes; ++i) {
    ASSERT_EQ(Area(4)[i], Area(0)[i] ^ Area(1)[i] ^ Area(2)[i]) << i;
  }
}

TEST_F(IoatDevicesTest, AReactorWithoutAChannelUsesTheCpu) {
  options_.device.channels = 1;
  ASSERT_TRUE(Attach().ok());
  EXPECT_FALSE(Submit(Copy(1, 0), 0));
  EXPECT_TRUE(Submit(Copy(3, 2), 1));
  EXPECT_EQ(memcmp(Area(3), Area(2), kBytes), 0);
  // Until another device has one to spare.
  ASSERT_TRUE(Attach("b").ok());
  EXPECT_FALSE(Submit(Copy(3, 2), 1));
}

TEST_F(IoatDevicesTest, TheCpuExecutesWhatIsShortOrOutOfReach) {
  ASSERT_TRUE(Attach().ok());
  EXPECT_TRUE(Submit(Copy(1, 0, IoatDevices::kBytesMinDefault - 1)));
  EXPECT_FALSE(Submit(Copy(1, 0, IoatDevices::kBytesMinDefault)));
  Run(devices_->SetBytesMin(1000));
  EXPECT_TRUE(Submit(Copy(1, 0, 999)));
  EXPECT_FALSE(Submit(Copy(3, 2, 1000)));
  std::vector<std::byte> elsewhere(kBytes);
  Operation& far = Copy(1, 0);
  far.to.iov_base = elsewhere.data();
  EXPECT_TRUE(Submit(far));
  EXPECT_EQ(memcmp(elsewhere.data(), Area(0), kBytes), 0);
}

TEST_F(IoatDevicesTest, WhatFailsTheCpuExecutesAgain) {
  ASSERT_TRUE(Attach().ok());
  model().FailDescriptor(0, 1, ioat::chanerr::kReadData);
  Operation& copy = Copy(1, 0);
  EXPECT_FALSE(Submit(copy));
  Finish(copy);
  EXPECT_EQ(copy.status, AccelStatus::kSuccess);
  EXPECT_EQ(memcmp(Area(1), Area(0), kBytes), 0);
  EXPECT_EQ(accel_.statistics().given_back, 1u);
  // And the channel goes on.
  for (int i = 0; i < 1000; ++i) Turn();
  Operation& next = Copy(3, 2);
  EXPECT_FALSE(Submit(next));
  Finish(next);
  EXPECT_EQ(Executed(AccelOpcode::kCopy, "ioat"), 1u);
}

TEST_F(IoatDevicesTest, DetachesUnderLoad) {
  ASSERT_TRUE(Attach().ok());
  for (size_t i = 0; i < 100; ++i) EXPECT_FALSE(Submit(Copy(1 + 2 * (i % 2), 0, kBytes), i % 2));
  ASSERT_TRUE(Detach().ok());
  for (const Operation& each : operations_) {
    EXPECT_EQ(each.ends, 1);
    EXPECT_EQ(each.status, AccelStatus::kSuccess);
  }
  EXPECT_EQ(memcmp(Area(1), Area(0), kBytes), 0);
  EXPECT_TRUE(devices_->devices().empty());
  EXPECT_EQ(AssignedTo(AccelOpcode::kCopy), "software");
  EXPECT_TRUE(Submit(Copy(1, 0)));
  ASSERT_TRUE(Attach().ok()) << "it may come back";
}

TEST_F(IoatDevicesTest, ADeviceThatGoesLosesNothing) {
  ASSERT_TRUE(Attach().ok());
  for (size_t i = 0; i < 100; ++i) {
    Submit(Copy(1 + 2 * (i % 2), 0, kBytes), i % 2);
    if (i == 50) model().Remove();
  }
  for (int i = 0; i < 200'000 && gone_.empty(); ++i) Turn();
  ASSERT_EQ(gone_.size(), 1u);
  EXPECT_EQ(gone_[0].substr(0, 2), "a:");
  for (const Operation& each : operations_) EXPECT_EQ(each.status, AccelStatus::kSuccess);
  EXPECT_EQ(accel_.statistics().operations_outstanding, 0u);
  EXPECT_EQ(memcmp(Area(1), Area(0), kBytes), 0);
  EXPECT_EQ(memcmp(Area(3), Area(0), kBytes), 0);
  EXPECT_TRUE(devices_->devices().empty());
  EXPECT_EQ(AssignedTo(AccelOpcode::kCopy), "software");
}

TEST_F(IoatDevicesTest, ALiarIsTakenOutOfServiceAndASpareChannelStepsIn) {
  options_.device.channels = 3;
  ASSERT_TRUE(Attach().ok());
  Operation& copy = Copy(1, 0);
  EXPECT_FALSE(Submit(copy));
  model().stalled = true;
  model().PostStatus(0, 0xdead0000);
  Finish(copy);
  EXPECT_EQ(copy.status, AccelStatus::kSuccess);
  EXPECT_EQ(memcmp(Area(1), Area(0), kBytes), 0);
  for (int i = 0; i < 1000; ++i) Turn();
  const auto views = devices_->devices();
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(views[0].channels[0].state, "out of service");
  EXPECT_NE(views[0].channels[0].reason, "");
  EXPECT_EQ(views[0].channels[0].reactor, nullptr);
  // The device was kept off the bus, since it might have written anywhere; its other channels go
  // out of service with it, at the latest when they are used.
  for (size_t reactor = 0; reactor < 2; ++reactor) {
    Operation& later = Copy(3, 2);
    if (!Submit(later, reactor)) Finish(later);
    EXPECT_EQ(later.status, AccelStatus::kSuccess);
    EXPECT_EQ(memcmp(Area(3), Area(2), kBytes), 0);
  }
}

TEST_F(IoatDevicesTest, AChannelThatFailsItsTestIsNotUsed) {
  before_start_ = [](IoatModel& model) { model.FailDescriptor(0, 4, ioat::chanerr::kLength); };
  ASSERT_TRUE(Attach().ok());
  const auto views = devices_->devices();
  EXPECT_EQ(views[0].channels[0].state, "out of service");
  EXPECT_NE(views[0].channels[0].reason.find("test"), std::string_view::npos)
      << views[0].channels[0].reason;
  EXPECT_EQ(views[0].channels[1].reactor, &(*world_.reactors)[0]);
  EXPECT_TRUE(Submit(Copy(1, 0), 1));
}

TEST_F(IoatDevicesTest, ADeviceWithoutAGoodChannelIsRefused) {
  options_.device.channels = 1;
  before_start_ = [](IoatModel& model) { model.FailDescriptor(0, 4, ioat::chanerr::kLength); };
  EXPECT_EQ(ErrnoOf(Attach()), EIO);
  EXPECT_TRUE(devices_->devices().empty());
  before_start_ = {};
  EXPECT_TRUE(Attach().ok());
}

TEST_F(IoatDevicesTest, SaysWhatIsWrong) {
  ASSERT_TRUE(Attach().ok());
  EXPECT_EQ(ErrnoOf(Run(devices_->Attach("a"))), EEXIST);
  EXPECT_EQ(ErrnoOf(Run(devices_->Detach("b"))), ENODEV);
  before_start_ = [](IoatModel& model) { model.reset_hangs = true; };
  const Status late = Attach("c");
  EXPECT_EQ(ErrnoOf(late), ETIMEDOUT) << late;
  EXPECT_EQ(devices_->devices().size(), 1u);
}

class IoatStopTest : public IoatDevicesTest, public testing::WithParamInterface<int> {};

TEST_P(IoatStopTest, MayComeAtAnyMoment) {
  Task<Status> attach = devices_->Attach("a");
  world_.Begin(attach);
  for (int i = 0; i < GetParam() && !attach.done(); ++i) Turn();
  if (!attach.done()) {
    EXPECT_EQ(ErrnoOf(Run(devices_->Detach("a"))), EBUSY);
  }
  Run(devices_->Stop());
  for (int i = 0; i < 1000 && !attach.done(); ++i) Turn();
  ASSERT_TRUE(attach.done());
  const Status attached = attach.TakeResult();
  EXPECT_TRUE(attached.ok() || ErrnoOf(attached) == ECANCELED) << attached;
  EXPECT_TRUE(devices_->devices().empty());
  EXPECT_EQ(AssignedTo(AccelOpcode::kCopy), "software");
  EXPECT_EQ(ErrnoOf(Attach()), ECANCELED) << "after the end";
}
INSTANTIATE_TEST_SUITE_P(Turns, IoatStopTest,
                         testing::Values(0, 1, 2, 5, 10, 20, 40, 80, 160, 320, 1000));

}  // namespace
}  // namespace pollux
