#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "targets/nvmf/queue.h"

namespace pollux::nvmf {

// The target behind the transport, in the hands of a test: this program has no other Queue. A
// Connect succeeds at once; what else a host sends waits in `started` until the test ends it, or is
// handed to `on_start`. One exists at a time.
class ScriptedTarget {
 public:
  ScriptedTarget() { current = this; }
  ~ScriptedTarget() { current = nullptr; }
  static ScriptedTarget* current;

  // What the transport has told of a command.
  struct Heard {
    int arrived = 0, dropped = 0, sent = 0;
    uint16_t status = 0;  // Of the drop.
    bool abandoned = false;
  };

  // --- As the controller would call them.
  void Want(Command& command, uint32_t offset, std::span<const iovec> parts) {
    command.OnDataWanted(offset, parts);
  }
  // With `last` the command succeeds with dword 0 of its completion as given.
  void Give(Command& command, uint32_t offset, std::span<const iovec> parts, bool last = true,
            uint32_t dw0 = 0);
  void End(Command& command, uint16_t status = 0, uint32_t dw0 = 0);

  std::function<void(Command&)> on_start, on_arrived, on_dropped, on_sent;
  std::vector<Command*> started;  // In order, and not ended.
  std::map<Command*, Heard> heard;
  std::vector<uint16_t> refused;  // Statuses.
  Queue* queue = nullptr;
  int queues_ended = 0;
  uint32_t depth = 128;  // Of the queue that Connect makes.

  // --- By the bodies of Queue and Command.
  void OnStart(Command& command);
  void Forget(Command& command);
  std::map<Command*, bool> ends_with_data;
};

}  // namespace pollux::nvmf
