#pragma once
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
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
#include "tests/unit/drivers/nvme/tcp_peer.h"

namespace pollux::nvme {

// A host whose clock stands still, a target on loopback, and the way between them.
class TcpWorld : public testing::Test {
 protected:
  struct Ended final : Request {
    void OnComplete(Completion ended) override {
      ++calls;
      completion = ended;
    }
    uint16_t status() const { return calls == 0 ? 0xffff : pollux_nvme_code(completion); }
    int calls = 0;
    Completion completion{};
  };
  static constexpr size_t kMemoryBytes = 24 << 20;
  static constexpr size_t kDataBytes = 1 << 20;
  static constexpr int kTurnsMax = 20000;

  TcpWorld() {
    auto mapped = SharedPages::Map("nvme-tcp-test", kMemoryBytes, false, registry_);
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
    data_ = static_cast<std::byte*>(pollux_nvme_alloc(host_.get(), kDataBytes, 4096));
    options_.io_queues = 2;
    options_.io_queue_depth = 32;
    options_.on_event = [](void* context, pollux_nvme_controller*, const pollux_nvme_event* event) {
      static_cast<TcpWorld*>(context)->events_.push_back(*event);
      static_cast<TcpWorld*>(context)->events_.back().text = nullptr;
    };
    options_.context = this;
  }
  ~TcpWorld() override {
    if (controller_ != nullptr) Detach();
    pollux_nvme_free(host_.get(), data_);
    EXPECT_EQ(host_->arena().free_bytes(), host_->arena().total_bytes());
  }

  // --- Words.

  int AttachBegin() {
    pollux_nvme_transport_id id{};
    const std::string text = absl::StrFormat(
        "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:%u subnqn:%s", peer_.port(), subnqn_);
    EXPECT_EQ(pollux_nvme_transport_id_parse(text.c_str(), &id), 0) << pollux_nvme_error_text();
    return pollux_nvme_attach_begin(host_.get(), &id, &options_, &controller_);
  }
  ControllerState Attach() {
    EXPECT_EQ(AttachBegin(), 0) << pollux_nvme_error_text();
    PollWhile(POLLUX_NVME_STATE_ATTACHING);
    return state();
  }
  void Detach() {
    for (pollux_nvme_queue* queue : std::exchange(queues_, {})) pollux_nvme_queue_return(queue);
    pollux_nvme_detach(controller_);
    controller_ = nullptr;
  }
  // The target works; time goes on when it had nothing to do.
  void Work() {
    if (!peer_.Step()) clock_.Advance(step_ns_);
  }
  void Turn() {
    pollux_nvme_controller_poll(controller_);
    for (pollux_nvme_queue* queue : queues_) pollux_nvme_queue_poll(queue, 0);
    Work();
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
  void Await(const Ended& ended) {
    for (int i = 0; i < kTurnsMax && ended.calls == 0; ++i) Turn();
    EXPECT_EQ(ended.calls, 1);
  }
  pollux_nvme_queue* TakeQueue() {
    pollux_nvme_queue* queue = nullptr;
    EXPECT_EQ(pollux_nvme_queue_take(controller_, -1, &queue), 0) << pollux_nvme_error_text();
    if (queue != nullptr) queues_.push_back(queue);
    return queue;
  }
  const pollux_nvme_namespace* ns() { return pollux_nvme_namespace_find(controller_, 1); }
  int Read(Ended& ended, size_t bytes, uint64_t lba = 0, size_t into = 0) {
    return pollux_nvme_read(queues_[0], ns(), ended.c(), data_ + into, bytes, lba,
                            static_cast<uint32_t>(bytes / TcpPeer::kBlockBytes));
  }
  int Write(Ended& ended, size_t bytes, uint64_t lba = 0, size_t from = 0) {
    return pollux_nvme_write(queues_[0], ns(), ended.c(), data_ + from, bytes, lba,
                             static_cast<uint32_t>(bytes / TcpPeer::kBlockBytes));
  }
  // Different everywhere, by `seed`.
  static void Fill(std::byte* at, size_t bytes, uint32_t seed) {
    for (size_t i = 0; i < bytes; ++i) {
      seed = seed * 1664525 + 1013904223;
      at[i] = static_cast<std::byte>(seed >> 24);
    }
  }

  ControllerState state() const { return pollux_nvme_state(controller_); }
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

  RegionRegistry registry_;
  std::unique_ptr<SharedPages> pages_;
  ManualClock clock_;
  uint64_t step_ns_ = kNsPerMs;
  std::vector<std::string> log_;
  TcpPeer peer_;
  std::string subnqn_ = "nqn.2024-01.io.example:disks";
  std::unique_ptr<pollux_nvme_host> host_;
  pollux_nvme_attach_options options_{};
  pollux_nvme_controller* controller_ = nullptr;
  std::vector<pollux_nvme_queue*> queues_;
  std::vector<pollux_nvme_event> events_;
  std::byte* data_ = nullptr;
};

}  // namespace pollux::nvme
