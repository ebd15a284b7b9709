#include "targets/iscsi/control_task.h"

#include "targets/iscsi/connection.h"

namespace pollux::iscsi {

void ControlTask::OnItsTurn() { connection->OnControlTurn(*this); }
void ControlTask::OnSent(bool) { connection->OnControlSent(*this); }

}  // namespace pollux::iscsi
