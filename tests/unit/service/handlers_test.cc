#include "service/handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pollux/v1/accel.pb.h"
#include "service/appliance.h"
#include "service/threads.h"

namespace pollux::service {
namespace {

class HandlersTest : public testing::Test {
 protected:
  const RealClock clock_;
  Loop loop_{
      {.name = "test", .idle_after_ns = Loop::kNever, .core = -1}, clock_, *MakeEpollWaiter()};
  Appliance appliance_{DaemonOptions(), loop_, clock_};
  rpc::Dispatcher dispatcher_{nullptr};
  Handlers handlers_{appliance_};
};

TEST_F(HandlersTest, EveryMethodOfTheDescriptorsHasAHandler) {
  handlers_.BindAll(dispatcher_);
  EXPECT_THAT(dispatcher_.unbound(), testing::IsEmpty());
  EXPECT_GT(dispatcher_.methods().size(), 50u);
}

TEST_F(HandlersTest, WhatIsNotSaidOfOffloadingIsWhatTheDriverDoes) {
  v1::AccelSetOptionsRequest request;
  ASSERT_TRUE(dispatcher_.Complete(request).ok());
  EXPECT_EQ(request.offload_min_bytes(), IoatDevices::kBytesMinDefault);
}

TEST_F(HandlersTest, CpumasksAreHexadecimal) {
  EXPECT_EQ(CpumaskOf(loop_), "0");
  for (const auto& [core, mask] : std::vector<std::pair<int, std::string>>{
           {0, "1"}, {3, "8"}, {4, "10"}, {7, "80"}, {65, "20000000000000000"}}) {
    Loop pinned({.name = "pinned", .idle_after_ns = 0, .core = core}, clock_, *MakeEpollWaiter());
    EXPECT_EQ(CpumaskOf(pinned), mask);
  }
}

}  // namespace
}  // namespace pollux::service
