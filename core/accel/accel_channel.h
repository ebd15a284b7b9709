#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "core/accel/accel_module.h"
#include "core/accel/accel_on_cpu.h"
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
  [[nodiscard]] bool Submit(AccelOperation& first) {
    return TryCopyAtOnce(first) || SubmitOther(first);
  }

  Reactor& reactor() const { return reactor_; }
  const AccelCounters& counters() const { return counters_; }
  // Whether that opcode may go to somebody else than the CPU. Who can do it in fewer steps without
  // this layer may ask first.
  bool offloads(AccelOpcode opcode) const { return assigned_[Index(opcode)] != nullptr; }

 private:
  friend class Accel;
  friend class AccelModuleChannel;

  static size_t Index(AccelOpcode opcode) { return static_cast<size_t>(opcode); }
  // The common case, in few instructions: the CPU copies from one piece to another.
  bool TryCopyAtOnce(AccelOperation& copy);
  bool SubmitOther(AccelOperation& first);
  bool Run(AccelOperation& from);
  // Null: a module has taken it. Otherwise the last one that has ended: `operation`, or the one
  // after it where the two were one pass.
  AccelOperation* Execute(AccelOperation& operation);
  bool TryBegin(AccelOperation& operation);
  void OnModuleEnd(AccelOperation& operation, AccelStatus status, uint8_t slot);
  // One writer: no need for an atomic addition.
  static void Add(std::atomic<uint64_t>& counter, uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void Count(const AccelOperation& operation, uint8_t slot);
  void EndChain(const AccelOperation& last);

  Reactor& reactor_;
  std::array<AccelModuleChannel*, kAccelOpcodeCount> assigned_{};  // Null: the CPU.
  AccelCounters counters_;
};

inline bool AccelChannel::TryCopyAtOnce(AccelOperation& copy) {
  if (copy.opcode != AccelOpcode::kCopy || offloads(AccelOpcode::kCopy) || copy.then != nullptr ||
      copy.source.size() != 1 || copy.destination.size() != 1) {
    return false;
  }
  const iovec from = copy.source[0];
  const iovec to = copy.destination[0];
  if (from.iov_len != to.iov_len || from.iov_len == 0 ||
      !AreApart(to.iov_base, from.iov_base, from.iov_len)) {
    return false;
  }
  memcpy(to.iov_base, from.iov_base, from.iov_len);
  copy.status = AccelStatus::kSuccess;
  AccelCounters::PerOpcode& counters = counters_.operations[Index(AccelOpcode::kCopy)][0];
  Add(counters.executed, 1);
  Add(counters.bytes, from.iov_len);
  return true;
}

}  // namespace pollux
