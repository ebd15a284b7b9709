#include <optional>

#include "core/run_on.h"
#include "targets/nvmf/await_task.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/io_commands.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"

// Fabrics commands of the admin queue. Base §6

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

const nvme::PropertyCommand& PropertyOf(Execution& execution) {
  return reinterpret_cast<const nvme::PropertyCommand&>(execution.entry());
}

// The bytes that ATTRIB stands for; 0: none.
size_t BytesOf(const nvme::PropertyCommand& command) {
  switch (command.attrib & 0x07) {
    case 0:
      return 4;
    case 1:
      return 8;
  }
  return 0;
}

}  // namespace

void Controller::StartFabrics(Execution& execution) {
  switch (FctypeOf(execution.entry())) {
    case nvme::fctype::kPropertyGet:
      return PropertyGet(execution);
    case nvme::fctype::kPropertySet:
      return PropertySet(execution);
    case nvme::fctype::kConnect:
      return execution.End(kCommandSequenceError | kDnrBit);
    case nvme::fctype::kDisconnect:  // An admin queue ends with its connection. §6.4
      return execution.End(kInvalidQueueType | kDnrBit);
  }
  execution.End(kInvalidOpcode | kDnrBit);
}

void Controller::PropertyGet(Execution& execution) {
  const nvme::PropertyCommand& command = PropertyOf(execution);
  const std::optional<uint64_t> value = properties_.Get(command.ofst, BytesOf(command));
  if (!value.has_value()) return execution.EndInvalidField(offsetof(nvme::PropertyCommand, ofst));
  execution.EndSuccess(static_cast<uint32_t>(*value), static_cast<uint32_t>(*value >> 32));
}

void Controller::PropertySet(Execution& execution) {
  const nvme::PropertyCommand& command = PropertyOf(execution);
  const std::optional<Properties::Work> work =
      properties_.Set(command.ofst, BytesOf(command), command.value);
  if (!work.has_value()) return execution.EndInvalidField(offsetof(nvme::PropertyCommand, ofst));
  if (*work == Properties::Work::kNone) return execution.EndSuccess();
  AwaitTask(execution, DoWork(&execution, *work));
}

// The Property Set that asked for it ends when it is done, and CSTS says so.
Task<void> Controller::DoWork(Execution* execution, Properties::Work work) {
  Worker& worker = queue_.worker();
  for (; work != Properties::Work::kNone; work = properties_.Done()) {
    if (work == Properties::Work::kReset) Reset();
    co_await SwitchTo(worker.control());
    co_await worker.control_side().EndIoQueues(identity_);
    co_await SwitchTo(worker.reactor());
  }
  execution->EndSuccess();
}

// Everything that a host has set is forgotten, apart from who it is and its keep alive. §3.7.2
void Controller::Reset() {
  events_.Reset();
  events_.EndRequests(kAbortedSqDeletion);
  changed_namespaces_.Clear();
  identity_->errors->Clear();
  features_ = Features(queue_.limits().io_queues_max);
}

}  // namespace pollux::nvmf
