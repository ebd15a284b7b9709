#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/accel/accel.h"
#include "core/block/device_registry.h"
#include "core/memory/region_registry.h"
#include "core/uring/reactor_ring.h"
#include "drivers/uring/file_disk.h"

namespace pollux::history {

// Memory of the region registry, in place of DPDK's.
class StageMemory final : public Memory {
 public:
  explicit StageMemory(RegionRegistry& registry) : registry_(registry) {}
  Result<std::byte*> Allocate(const std::string& consumer, size_t bytes) override;
  Usage usage() const override { return {}; }

 private:
  RegionRegistry& registry_;
  std::vector<std::unique_ptr<SharedPages>> pages_;
};

// Two reactors, the control loop and what disks are made with. Either everything stands still, and
// this thread runs the turns of all loops, so that a seed says all that happens; or reactors have
// threads, and the clock is the real one.
class Stage {
 public:
  static constexpr size_t kReactors = 2;
  enum class Reactors { kStill, kThreads };

  explicit Stage(Reactors kind);
  ~Stage();

  void Turn();
  // False: it never came to be.
  [[nodiscard]] bool Until(const std::function<bool()>& so);
  // Runs `step` on a reactor.
  void On(size_t reactor, const std::function<void()>& step);
  // Runs `task` on the control loop to its end.
  template <typename T>
  T Run(Task<T> task) {
    Starting starting(task);
    control.Post(starting);
    const bool ended = Until([&task, &starting] { return starting.ran && task.done(); });
    CHECK(ended, "a task of the control loop never ends");
    return task.TakeResult();
  }
  // For disks with rings: false where there is no io_uring for us.
  bool MakeRings();
  // Pins memory for the rings that there are, as that of the pools is.
  void Pin(std::span<std::byte> bytes);

  bool still() const { return kind_ == Reactors::kStill; }
  // With reactors that stand still: what else moves in every turn, such as a device's model.
  std::function<void()> in_turn;

 private:
  template <typename T>
  struct Starting final : Message {
    explicit Starting(Task<T>& t) : task(t) {}
    void Run() override {
      ran = true;
      task.Start();
    }
    Task<T>& task;
    bool ran = false;
  };

  const Reactors kind_;

 public:
  ManualClock manual_clock;
  RealClock real_clock;
  const Clock& clock;
  std::unique_ptr<pollux::Reactors> reactors;
  Loop control;
  DeviceRegistry devices;
  RegionRegistry regions;
  StageMemory memory;
  Accel accel;
  std::unique_ptr<ReactorBuffers> file_buffers;

 private:
  std::unique_ptr<ReactorRing> rings_[kReactors];
};

}  // namespace pollux::history
