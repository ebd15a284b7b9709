#pragma once
#include <utility>

#include "core/loop.h"
#include "core/task.h"

namespace pollux::cli {

// Runs the task on a loop that lives on the calling thread, until it is done.
template <typename T>
T RunOnLoop(Loop& loop, Task<T> task) {
  struct Starter final : Message {
    explicit Starter(Task<T>& its_task) : task(its_task) {}
    void Run() override { task.Start(); }
    Task<T>& task;
  } starter(task);
  loop.Post(starter);
  while (!task.done()) loop.RunTurn(/*may_block=*/true);
  return task.TakeResult();
}

}  // namespace pollux::cli
