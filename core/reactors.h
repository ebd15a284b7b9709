#pragma once
#include <memory>
#include <type_traits>
#include <vector>

#include "core/loop.h"
#include "core/run_on.h"
#include "core/task.h"

namespace pollux {

// A loop of the data plane: pinned to one core of -m. Every connection, queue pair and I/O channel
// belongs to one reactor and is touched by no other.
class Reactor final : public Loop {
 public:
  Reactor(size_t index, Options options, const Clock& clock, std::unique_ptr<Waiter> waiter)
      : Loop(std::move(options), clock, std::move(waiter), Kind::kReactor), index_(index) {}

  // Its place among the reactors: 0, 1, 2, ... What is kept per reactor is an array by this index.
  size_t index() const { return index_; }
  // The reactor whose thread this is, or null.
  static Reactor* Current() {
    Loop* const loop = Loop::Current();
    return loop != nullptr && loop->kind() == Kind::kReactor ? static_cast<Reactor*>(loop)
                                                             : nullptr;
  }

 private:
  const size_t index_;
};

// All reactors, fixed from start to stop. Control loop only, apart from what Loop says.
class Reactors {
 public:
  struct Options {
    std::vector<int> cores = {0};             // The cores of -m, in order.
    uint64_t idle_after_ns = 200 * kNsPerUs;  // Loop::kNever with --poll.
  };
  static constexpr size_t kReactorsMax = 128;

  // Makes the reactors and starts their threads. The clock outlives them.
  static Result<std::unique_ptr<Reactors>> Start(const Options& options, const Clock& clock);
  // Without threads: the caller runs their turns. For tests and simulation.
  static Result<std::unique_ptr<Reactors>> MakeStill(const Options& options, const Clock& clock);
  ~Reactors();

  size_t size() const { return reactors_.size(); }
  Reactor& operator[](size_t index) { return *reactors_[index]; }
  auto begin() { return reactors_.begin(); }
  auto end() { return reactors_.end(); }

  // Runs `step(reactor)` on each, one after the other, and returns when all have.
  template <typename Step>
  Task<void> ForEach(Step step) {
    for (auto& reactor : reactors_) {
      auto here = [&step, r = reactor.get()] { step(*r); };
      co_await RunOn(*reactor, here);
    }
  }

  // Ends the threads after their current turn. What is in flight must have been drained before.
  void Stop();

 private:
  std::vector<std::unique_ptr<Reactor>> reactors_;
};

}  // namespace pollux
