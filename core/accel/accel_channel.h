#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include "core/accel/accel_module.h"
#include "core/accel/accel_operation.h"
#include "core/reactors.h"

namespace pollux {

// What a channel counts. One writer, its reactor; readers load relaxed and add up.
struct AccelCounters {
  static constexpr size_t kModulesMax = 4;
  struct PerOpcode {
    std::atomic<uint64_t> executed{0};  // Those that succeeded,
    std::atomic<uint64_t> bytes{0};     // and their bytes.
    std::atomic<uint64_t> failed{0};    // Those that ended otherwise, a miscompare included.
  };
  // By opcode, and by the module's place in Accel::modules().
  std::array<std::array<PerOpcode, kModulesMax>, kAccelOpcodeCount> operations{};
  std::atomic<uint64_t> chains_executed{0}, chains_failed{0};
  std::atomic<uint64_t> chains_outstanding{0}, operations_outstanding{0};
  // Operations that a module took, and gave back to the CPU.
  std::atomic<uint64_t> given_back{0};
};

// The accel layer's side of one reactor: where operations are submitted. Touched by its reactor
// alone.
//
// An operation goes to the module that its opcode is assigned to. What that refuses or gives back,
// and what is assigned to none, the CPU executes in its place, at once.
class AccelChannel {
 public:
  explicit AccelChannel(Reactor& reactor) : reactor_(reactor) {}
  ~AccelChannel();  // Nothing is outstanding.
  AccelChannel(const AccelChannel&) = delete;
  AccelChannel& operator=(const AccelChannel&) = delete;

  // Executes the operation and those that are chained to it by `then`, one after the other, up to
  // the first that does not succeed; the others are then skipped. A copy and a CRC of the same
  // bytes are one pass where the CPU executes both.
  //
  // True: all have ended, as their status says, and OnComplete will not run. False: OnComplete of
  // the last one will.
  //
  // Operations that are not chained to each other have no order among themselves.
  [[nodiscard]] bool Submit(AccelOperation& first);

  Reactor& reactor() const { return reactor_; }
  const AccelCounters& counters() const { return counters_; }
  // Whether that opcode may go to somebody else than the CPU. Who can do it in fewer steps without
  // this layer may ask first.
  bool offloads(AccelOpcode opcode) const { return assigned_[Index(opcode)] != nullptr; }

 private:
  friend class Accel;
  friend class AccelModuleChannel;

  static size_t Index(AccelOpcode opcode) { return static_cast<size_t>(opcode); }
  bool SubmitOther(AccelOperation& first);
  bool Run(AccelOperation& from);
  // Null: a module has taken it. Otherwise the last one that has ended: `operation`, or the one
  // after it where the two were one pass.
  AccelOperation* Execute(AccelOperation& operation);
  bool TryBegin(AccelOperation& operation);
  void OnModuleEnd(AccelOperation& operation, AccelStatus status, uint8_t slot);
  void CountPlain(AccelOpcode opcode, uint64_t bytes);
  void Count(const AccelOperation& operation, uint8_t slot);
  void EndChain(const AccelOperation& last);

  Reactor& reactor_;
  std::array<AccelModuleChannel*, kAccelOpcodeCount> assigned_{};  // Null: the CPU.
  AccelCounters counters_;
};

}  // namespace pollux
