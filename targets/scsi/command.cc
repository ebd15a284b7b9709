#include "targets/scsi/command.h"

#include "targets/scsi/execution.h"

namespace pollux::scsi {

Command::Command() {
  static_assert(sizeof(Execution) <= kExecutionBytes && alignof(Execution) <= 16);
  new (execution_) Execution(*this);
}

Command::~Command() { Execution::Of(*this).~Execution(); }

void Command::DataOutArrived() { Execution::Of(*this).DataOutArrived(); }
void Command::DataInSent() { Execution::Of(*this).DataInSent(); }

}  // namespace pollux::scsi
