#pragma once
#include <utility>

#include "core/loop.h"
#include "core/task.h"

namespace pollux {

// Runs a task on a loop that no thread of its own runs, until it is done. `turn` lets the loop take
// a turn, and whatever else the task waits for.
template <typename T, typename Turn>
T RunByTurns(Loop& loop, Task<T> task, const Turn& turn) {
  struct Starter final : Message {
    explicit Starter(Task<T>& its_task) : task(its_task) {}
    void Run() override { task.Start(); }
    Task<T>& task;
  } starter(task);
  loop.Post(starter);
  do turn();
  while (!task.done());
  return task.TakeResult();
}

// The same, where the loop is all there is to wait for: it sleeps meanwhile.
template <typename T>
T RunOnLoop(Loop& loop, Task<T> task) {
  return RunByTurns(loop, std::move(task), [&loop] { loop.RunTurn(/*may_block=*/true); });
}

}  // namespace pollux
