#pragma once
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/accel/accel_channel.h"
#include "core/accel/accel_module.h"
#include "core/reactors.h"
#include "core/status.h"
#include "core/task.h"
#include "core/turn.h"

namespace pollux {

// What all channels have counted together, for one opcode and one module.
struct AccelOperationStatistics {
  AccelOpcode opcode;
  std::string_view module;
  uint64_t executed, bytes, failed;
};
struct AccelStatistics {
  std::vector<AccelOperationStatistics> operations;  // Only where something was counted.
  uint64_t chains_executed = 0, chains_failed = 0;
  uint64_t chains_outstanding = 0, operations_outstanding = 0;
  uint64_t given_back = 0;
};

// The accel layer: a channel on every reactor, and modules, each opcode being assigned to one of
// them. There is always "software", the CPU. Control loop only, but for channel().
class Accel {
 public:
  // The reactors outlive it.
  explicit Accel(Reactors& reactors);
  ~Accel();  // Nothing is outstanding, nor is an Assign() or Update() under way.

  // Any thread.
  AccelChannel& channel(const Reactor& reactor) { return *channels_[reactor.index()]; }

  // Preferred: opcodes that the module has available go to it, unless they are assigned otherwise.
  // A later one is preferred to an earlier one. Otherwise it gets what is assigned to it. Before
  // anything is submitted.
  enum class Use : uint8_t { kPreferred, kWhenAssigned };
  void Add(AccelModule& module, Use use);
  const std::vector<AccelModule*>& modules() const { return modules_; }

  // Sends the opcode to that module from now on, available or not. Errors: ENOENT there is no such
  // module; ENOTSUP it has no such operation.
  Task<Status> Assign(AccelOpcode opcode, std::string module);
  // Some module's Available() has another answer: assigns anew what nobody has assigned.
  Task<void> Update();
  // The module that the opcode goes to.
  AccelModule& assigned(AccelOpcode opcode) const {
    return *assigned_[static_cast<size_t>(opcode)];
  }

  AccelStatistics statistics() const;

 private:
  class Software;

  AccelModule& Choose(AccelOpcode opcode) const;

  Reactors& reactors_;
  const std::unique_ptr<Software> software_;
  std::vector<AccelModule*> modules_;
  std::vector<AccelModule*> preferred_;                   // The last first.
  std::array<AccelModule*, kAccelOpcodeCount> wanted_{};  // By Assign(); null: nobody cares.
  std::array<AccelModule*, kAccelOpcodeCount> assigned_{};
  std::vector<std::unique_ptr<AccelChannel>> channels_;  // By reactor.
  Turn changing_;
};

}  // namespace pollux
