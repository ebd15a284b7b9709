#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/unit/drivers/history/content.h"

namespace pollux::history {

// What one I/O does to one block, or has seen of it.
struct Action {
  enum class Kind : uint8_t {
    kSee,     // It held `expected`.
    kDiffer,  // It held something else.
    kStore,   // From then on it holds `stored`.
    kSwap,    // It held `expected`; from then on it holds `stored`.
  };
  Kind kind = Kind::kSee;
  // Of a kStore or kSwap that failed: it may have happened all the same, or not.
  bool certain = true;
  Value expected = 0, stored = 0;

  bool changes() const { return kind == Kind::kStore || kind == Kind::kSwap; }
};

// The model of one block: every value that it may hold, after all that happened to it.
//
// An action takes effect at one moment between its begin and its end, which are told in their order
// of all I/O. So a state that may be is a value, and which of the actions under way have had their
// effect. Those states are kept that explain everything that has ended (linearizability: Wing and
// Gong 1993, as late as an end demands it: Lowe 2017); where none is left, no order explains it.
// What is seen therefore settles what a failed write left open.
class BlockHistory {
 public:
  static constexpr size_t kActionsMax = 32;  // Under way at once.

  explicit BlockHistory(Value value = kZeroes) : states_{{value, 0}} {}

  // Returns by which name the action ends.
  size_t Begin(const Action& action);
  // False: nothing explains that. What was possible before stays.
  [[nodiscard]] bool End(size_t name);
  // From now on it holds this, for a reason of another kind. Nothing is under way.
  void Settle(Value value);

  // What it may hold now.
  std::vector<Value> values() const;

 private:
  struct State {
    Value value;
    uint32_t done;  // By name: those under way that have had their effect.
    bool operator==(const State&) const = default;
  };
  static uint32_t Bit(size_t name) { return 1u << name; }

  State SeeAll(State state) const;
  bool Apply(const State& state, size_t name, State& next) const;
  void Reach(size_t name);

  std::array<Action, kActionsMax> actions_;
  uint32_t under_way_ = 0;
  std::vector<State> states_;
  std::vector<State> reached_, work_;  // While an end is looked at.
};

}  // namespace pollux::history
