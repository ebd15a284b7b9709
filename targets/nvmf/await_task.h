#pragma once
#include <utility>

#include "core/task.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

// The command waits for `task`, which goes to the control loop, comes back and ends it. A command
// that is to end before its time ends no sooner: the task holds on to it.
inline void AwaitTask(Execution& execution, Task<void> task) {
  execution.Await([](Execution&) {});
  execution.queue().worker().tasks().Spawn(std::move(task));
}

}  // namespace pollux::nvmf
