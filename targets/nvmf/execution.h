#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "core/block/block_channel.h"
#include "core/memory/buffer_pool.h"
#include "targets/nvmf/command.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/subsystem_view.h"

namespace pollux::nvmf {

// A command being executed: the controller's side of it, which lies inside the Command. A handler
// is a chain of steps; each ends by waiting for one thing, naming the step to go on with, or by
// ending the command. What it does last is that call.
class Execution {
 public:
  using Step = void (*)(Execution&);

  static Execution& Of(Command& command);

  // --- What a step sees.
  Command& command() { return command_; }
  Queue& queue() { return *command_.queue_; }
  const nvme::SubmissionEntry& entry() const { return command_.entry; }

  // --- Ways to end. Statuses are SCT << 8 | SC, with DNR where a retry is of no use.
  void End(uint16_t status, uint32_t dw0 = 0, uint32_t dw1 = 0);
  void EndSuccess(uint32_t dw0 = 0, uint32_t dw1 = 0) { End(nvme::status::kSuccess, dw0, dw1); }
  // The parameter data of an admin command, cut to what the host expects; kept until it was sent.
  void EndWithData(std::string data, uint32_t dw0 = 0);

  // --- Ways to wait.
  // Brings the host's first `bytes` of data to data(); ends the command with Invalid Field when it
  // offers less, or more than kParameterBytesMax are asked for.
  static constexpr uint32_t kParameterBytesMax = 8 * 1024;
  void FetchData(uint32_t bytes, Step next);
  std::span<const std::byte> data() const;

  // The handler awaits somebody else: the command stays in flight until one of the ends above is
  // called, on the queue's reactor. `on_abandon` runs when it is to end before (connection gone,
  // Abort): it must make sure that End() comes. Null: it comes anyway, soon.
  void Await(Step on_abandon);

 private:
  explicit Execution(Command& command) : command_(command) {}
  Command& command_;
};

}  // namespace pollux::nvmf
