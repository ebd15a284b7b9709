#pragma once
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory/memory.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme/nvme.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/models/nvme_model_device.h"

namespace pollux::nvme {

using models::NvmeModel;
using models::NvmeModelDevice;

// A request that counts how it ended.
struct Recorder final : Request {
  void OnComplete(Completion completion) override {
    ++calls;
    status = pollux_nvme_code(completion);
  }
  int calls = 0;
  uint16_t status = 0xffff;
};

// A host with memory of its own, a clock that stands still, and a model to attach.
class ControllerWorld : public testing::Test {
 protected:
  static constexpr size_t kMemoryBytes = 16 << 20;
  static constexpr int kTurnsMax = 20000;

  ControllerWorld() {
    auto mapped = SharedPages::Map("nvme-test", kMemoryBytes, false, registry_);
    CHECK(mapped.ok());
    pages_ = *std::move(mapped);
    NvmeHost::Parts parts;
    parts.registry = &registry_;
    parts.memory = pages_->address();
    parts.memory_bytes = pages_->bytes();
    parts.clock = &clock_;
    parts.log = [this](int /*priority*/, const std::string& text) { log_.push_back(text); };
    parts.idle = [this] { Work(); };
    host_ = std::make_unique<pollux_nvme_host>(std::move(parts));
    device_options_.controller.io_queues_max = 8;
    attach_options_.io_queues = 2;
    attach_options_.io_queue_depth = 16;
    attach_options_.on_event = [](void* context, pollux_nvme_controller*,
                                  const pollux_nvme_event* event) {
      static_cast<ControllerWorld*>(context)->OnEvent(*event);
    };
    attach_options_.context = this;
  }
  ~ControllerWorld() override {
    if (controller_ != nullptr) Detach();
    EXPECT_EQ(host_->arena().free_bytes(), host_->arena().total_bytes());
  }

  // --- Words.

  // A new device; what is asked of it next is the next attach.
  NvmeModel& Plug() {
    auto device = std::make_unique<NvmeModelDevice>(device_options_, registry_);
    model_ = &device->model();
    plugged_ = std::move(device);
    return *model_;
  }
  void AttachBegin() {
    if (plugged_ == nullptr) Plug();
    pollux_nvme_transport_id id{};
    id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
    strcpy(id.traddr, "0000:01:00.0");
    auto attached = host_->AttachDevice(std::move(plugged_), id, attach_options_);
    ASSERT_TRUE(attached.ok()) << attached.status();
    controller_ = *attached;
  }
  ControllerState Attach() {
    AttachBegin();
    PollWhile(POLLUX_NVME_STATE_ATTACHING);
    return state();
  }
  void Detach() {
    for (pollux_nvme_queue* queue : std::exchange(queues_, {})) pollux_nvme_queue_return(queue);
    pollux_nvme_detach(controller_);
    controller_ = nullptr;
    model_ = nullptr;
  }
  // The device works, and time goes on.
  void Work() {
    if (model_ != nullptr) model_->Step();
    clock_.Advance(step_ns_);
  }
  void Turn() {
    if (pollux_nvme_controller_poll(controller_) == 0) Work();
    for (pollux_nvme_queue* queue : queues_) pollux_nvme_queue_poll(queue, 0);
  }
  void Turns(int count) {
    for (int i = 0; i < count; ++i) Turn();
  }
  void PollWhile(ControllerState state) {
    for (int i = 0; i < kTurnsMax && this->state() == state; ++i) Turn();
  }
  void PollUntil(ControllerState state) {
    for (int i = 0; i < kTurnsMax && this->state() != state; ++i) Turn();
    EXPECT_EQ(this->state(), state) << pollux_nvme_state_name(this->state());
  }
  pollux_nvme_queue* TakeQueue() {
    pollux_nvme_queue* queue = nullptr;
    EXPECT_EQ(pollux_nvme_queue_take(controller_, -1, &queue), 0) << pollux_nvme_error_text();
    if (queue != nullptr) queues_.push_back(queue);
    return queue;
  }
  // Block 0 of namespace 1.
  int Read(pollux_nvme_queue* queue, Request& request) {
    if (data_ == nullptr) data_ = pollux_nvme_alloc(host_.get(), 4096, 4096);
    const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(controller_, 1);
    if (ns == nullptr) return -ENODEV;
    return pollux_nvme_read(queue, ns, request.c(), data_, 512, 0, 1);
  }
  void FreeData() {
    pollux_nvme_free(host_.get(), data_);
    data_ = nullptr;
  }

  ControllerState state() const { return pollux_nvme_state(controller_); }
  int failure() const {
    const char* text = nullptr;
    return pollux_nvme_failure(controller_, &text);
  }
  std::string failure_text() const {
    const char* text = nullptr;
    pollux_nvme_failure(controller_, &text);
    return text;
  }
  const pollux_nvme_controller_info& info() const {
    return *pollux_nvme_get_controller_info(controller_);
  }
  bool Logged(const std::string& part) const {
    for (const std::string& line : log_) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }
  std::vector<uint32_t> Namespaces() const {
    std::vector<uint32_t> found;
    for (uint32_t nsid = 0;;) {
      pollux_nvme_namespace* ns = pollux_nvme_namespace_next(controller_, nsid);
      if (ns == nullptr) return found;
      nsid = pollux_nvme_get_namespace_info(ns)->nsid;
      found.push_back(nsid);
    }
  }
  std::vector<uint32_t> EventsOf(pollux_nvme_event_type type) const {
    std::vector<uint32_t> found;
    for (const pollux_nvme_event& event : events_) {
      if (event.type == type) found.push_back(event.nsid != 0 ? event.nsid : event.value);
    }
    return found;
  }
  virtual void OnEvent(const pollux_nvme_event& event) {
    EXPECT_NE(event.text, nullptr);
    events_.push_back(event);
    events_.back().text = nullptr;  // It is valid during the call.
  }

  RegionRegistry registry_;
  std::unique_ptr<SharedPages> pages_;
  ManualClock clock_;
  uint64_t step_ns_ = kNsPerMs;  // How far the clock goes when there is nothing to do.
  std::vector<std::string> log_;
  std::unique_ptr<pollux_nvme_host> host_;
  NvmeModelDevice::Options device_options_;
  pollux_nvme_attach_options attach_options_{};
  std::unique_ptr<NvmeModelDevice> plugged_;
  NvmeModel* model_ = nullptr;
  pollux_nvme_controller* controller_ = nullptr;
  std::vector<pollux_nvme_queue*> queues_;
  std::vector<pollux_nvme_event> events_;
  void* data_ = nullptr;
};

}  // namespace pollux::nvme
