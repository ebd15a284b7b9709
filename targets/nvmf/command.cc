#include "targets/nvmf/command.h"

#include "targets/nvmf/execution.h"

namespace pollux::nvmf {

Command::Command() {
  static_assert(sizeof(Execution) <= kExecutionBytes && alignof(Execution) <= 16);
  new (execution_area) Execution(*this);
}

Command::~Command() { Execution::Of(*this).~Execution(); }

void Command::DataArrived() { Execution::Of(*this).DataArrived(); }
void Command::DataDropped(uint16_t status) { Execution::Of(*this).DataDropped(status); }
void Command::DataSent() { Execution::Of(*this).DataSent(); }
void Command::Abandon() {
  Execution::Of(*this).EndEarly(Execution::Early::kAbandoned, /*let_go=*/true);
}

}  // namespace pollux::nvmf
