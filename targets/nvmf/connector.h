#pragma once
#include "core/task.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

// The Connect command, which makes a new queue a controller's: checks what is asked, has the
// control side admit it, and sets the queue up. Base §6.3.
//
// The queue is kConnecting meanwhile and, on success, kAdmin with a Controller or kIo. The
// connection may die in between: a queue that is kClosing then gets its identity all the same,
// and nothing else. So whenever a queue has an identity, the control side has entered it, and the
// queue calls ControlSide::Leave when it closes.
class Connector {
 public:
  // Any command of a queue that is kNew or kConnecting: only one Connect is in order.
  static void Start(Execution& execution);
  // A fabrics command (opcode 7Fh) of an I/O queue. §6.4: Disconnect.
  static void StartOnIoQueue(Execution& execution);

 private:
  static void OnData(Execution& execution);
  static Task<void> Admit(Execution* execution, ConnectQuery query);
  static void Settle(Execution& execution, const ConnectQuery& query, ConnectVerdict verdict);
};

}  // namespace pollux::nvmf
