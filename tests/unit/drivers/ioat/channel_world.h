#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "drivers/ioat/host.h"
#include "tests/models/ioat_model_device.h"

namespace pollux::ioat {

// Who waits for an operation, and remembers how it ended.
struct Waiting final : Request {
  int calls = 0;
  Completion completion{};
  std::function<void()> then;
  void OnComplete(Completion how) override {
    ++calls;
    completion = how;
    if (then) then();
  }
  bool ok() const { return calls == 1 && completion.status == POLLUX_IOAT_OK; }
};

// The driver on one side, a device made of memory on the other, and time that the test moves.
class ChannelWorld : public testing::Test {
 protected:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kPages = 64;

  ChannelWorld() {
    IoatHost::Parts parts;
    parts.registry = &registry_;
    parts.clock = &clock_;
    parts.idle = [this] {
      if (device_ != nullptr) device_->model().Step();
      clock_.Advance(kNsPerMs);
    };
    host_ = std::make_unique<pollux_ioat_host>(std::move(parts));
    data_ = static_cast<std::byte*>(pollux_ioat_alloc(host_.get(), kPages * kPage));
    options_.descriptors = 16;
  }
  ~ChannelWorld() override {
    if (channel_ != nullptr) {
      // The device may be in any state. What it owes still comes.
      for (int i = 0; i < 3000 && !pollux_ioat_channel_idle(channel_); ++i) Turn();
      EXPECT_TRUE(pollux_ioat_channel_idle(channel_)) << "something never ended";
      for (const Waiting& each : all_) EXPECT_LE(each.calls, 1);
      pollux_ioat_channel_return(channel_);
    }
    if (attached_ != nullptr) {
      EXPECT_EQ(pollux_ioat_detach(attached_), 0);
    }
  }

  int TryAttach() {
    auto device = std::make_unique<models::IoatModelDevice>(model_, registry_);
    device_ = device.get();
    if (before_start_) before_start_();
    const auto attached = host_->AttachDevice(std::move(device), "model", options_);
    if (!attached.ok()) {
      device_ = nullptr;
      said_ = std::string(attached.status().message());
      return -ErrnoOf(attached.status());
    }
    attached_ = *attached;
    return 0;
  }
  void Attach() {
    ASSERT_EQ(TryAttach(), 0) << said_;
    ASSERT_EQ(pollux_ioat_channel_take(attached_, 0, &channel_), 0);
  }
  models::IoatModel& model() { return device_->model(); }
  std::byte* Page(size_t i) { return data_ + i * kPage; }
  Waiting& New() { return all_.emplace_back(); }

  int CopyPage(Waiting& waiting, size_t to, size_t from, size_t bytes = kPage) {
    return pollux_ioat_copy(channel_, waiting.c(), Page(to), Page(from), bytes);
  }
  void Pattern(size_t page, unsigned seed) {
    for (size_t i = 0; i < kPage; ++i) Page(page)[i] = static_cast<std::byte>(i * 31 + seed);
  }
  int Poll() { return pollux_ioat_channel_poll(channel_); }
  void Ring() { pollux_ioat_channel_ring(channel_); }
  // Announces, lets the device do all of it, and takes what it did.
  int Go() {
    Ring();
    model().Run();
    return Poll();
  }
  void Turn() {
    Poll();
    model().Run();
    clock_.Advance(kNsPerMs);
  }
  void Turns(int count = 50) {
    for (int i = 0; i < count; ++i) Turn();
  }
  pollux_ioat_state state() { return pollux_ioat_channel_state(channel_); }
  pollux_ioat_statistics statistics() {
    pollux_ioat_statistics now;
    pollux_ioat_get_statistics(channel_, &now);
    return now;
  }
  // Where the ring lies for the device: by what a status said.
  uint64_t LastReported() {
    return device_->Read64(0, ChannelOffset(0) + kChansts.offset) & chansts::kAddressMask;
  }

  RegionRegistry registry_;
  ManualClock clock_;
  models::IoatModelDevice::Options model_;
  pollux_ioat_attach_options options_{};
  std::unique_ptr<pollux_ioat_host> host_;
  std::byte* data_ = nullptr;
  models::IoatModelDevice* device_ = nullptr;
  std::function<void()> before_start_;
  pollux_ioat_device* attached_ = nullptr;
  pollux_ioat_channel* channel_ = nullptr;
  std::string said_;
  std::deque<Waiting> all_;
};

}  // namespace pollux::ioat
