#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "core/block/device_registry.h"
#include "core/memory/reactor_buffers.h"
#include "core/run_on.h"

namespace pollux::testing_world {

// Reactors that stand still, the control loop and a registry: the test runs their turns, and moves
// the clock.
class BlockWorld {
 public:
  explicit BlockWorld(size_t reactor_count = 2)
      : reactors(*Reactors::MakeStill({.cores = Cores(reactor_count)}, clock)),
        control({.name = "control"}, clock, *MakeEpollWaiter()),
        devices(*reactors) {}

  void Turn() {
    control.RunTurn();
    for (auto& reactor : *reactors) reactor->RunTurn();
  }
  void Turns(int count) {
    for (int i = 0; i < count; ++i) Turn();
  }
  // Runs turns until it is so. The kernel may be in it, and takes its time on a busy machine.
  void Until(const std::function<bool()>& so) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!so()) {
      if (std::chrono::steady_clock::now() > deadline) FAIL() << "it never came to be";
      Turn();
    }
  }
  // Starts `task` on the control loop and goes on; it must outlive its end.
  template <typename T>
  void Begin(Task<T>& task) {
    InMessage(control, [&task] { task.Start(); });
  }
  // Runs `task` on the control loop to its end.
  template <typename T>
  T Run(Task<T> task) {
    Begin(task);
    Until([&task] { return task.done(); });
    CHECK(task.done());
    return task.TakeResult();
  }
  // Runs `step` on a reactor.
  void On(size_t index, const std::function<void()>& step) { InMessage((*reactors)[index], step); }
  void OnControl(const std::function<void()>& step) { InMessage(control, step); }

  ManualClock clock;
  std::unique_ptr<Reactors> reactors;
  Loop control;
  DeviceRegistry devices;

 private:
  static std::vector<int> Cores(size_t count) {
    std::vector<int> cores(count);
    std::iota(cores.begin(), cores.end(), 0);
    return cores;
  }
  static void InMessage(Loop& loop, const std::function<void()>& step) {
    struct Carrier final : Message {
      explicit Carrier(const std::function<void()>& s) : carried(s) {}
      void Run() override {
        carried();
        ran = true;
      }
      const std::function<void()>& carried;
      bool ran = false;
    } carrier(step);
    loop.Post(carrier);
    while (!carrier.ran) loop.RunTurn();
  }
};

// A request with a buffer of its own.
class TestIo final : public IoRequest {
 public:
  TestIo() = default;
  TestIo(IoType of_type, uint64_t at, uint64_t count, size_t bytes = 0, int fill = 0)
      : buffer(bytes, std::byte(fill)) {
    type = of_type;
    lba = at;
    blocks = count;
    if (bytes > 0) UseWholeBuffer();
  }
  void UseWholeBuffer() {
    segments = {{buffer.data(), buffer.size()}};
    data = segments;
  }
  void OnComplete() override {
    ++calls;
    if (then) then();
  }

  std::vector<std::byte> buffer;
  std::vector<iovec> segments;
  int calls = 0;
  std::function<void()> then;
};

// Ordinary memory in place of DPDK's.
class PlainMemory final : public Memory {
 public:
  Result<std::byte*> Allocate(const std::string&, size_t bytes) override {
    blocks_.push_back(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
    memset(blocks_.back(), 0, bytes);
    return blocks_.back();
  }
  Usage usage() const override { return {}; }
  ~PlainMemory() override {
    for (std::byte* block : blocks_) std::free(block);
  }

 private:
  std::vector<std::byte*> blocks_;
};

class TestUser final : public BlockUser {
 public:
  explicit TestUser(std::string name = "a test") : name_(std::move(name)) {}
  std::string description() const override { return name_; }
  Task<void> OnDeviceRemoving(BlockDevice&) override {
    ++removing;
    if (on_removing) on_removing();
    if (lets_go != nullptr) co_await *lets_go;
  }
  void OnDeviceResized(BlockDevice& device) override { resized_to = device.geometry().blocks; }

  int removing = 0;
  uint64_t resized_to = 0;
  std::function<void()> on_removing;
  Completion<bool>* lets_go = nullptr;  // It stays until this is set.

 private:
  std::string name_;
};

}  // namespace pollux::testing_world
