#include "tests/unit/drivers/history/block_history.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/check.h"

namespace pollux::history {
namespace {

template <typename T>
bool AddNew(std::vector<T>& all, const T& one) {
  if (std::find(all.begin(), all.end(), one) != all.end()) return false;
  all.push_back(one);
  return true;
}

}  // namespace

// What only looks has no effect on others, so it may as well look as soon as it can.
BlockHistory::State BlockHistory::SeeAll(State state) const {
  for (uint32_t left = under_way_ & ~state.done; left != 0; left &= left - 1) {
    const auto name = static_cast<size_t>(std::countr_zero(left));
    const Action& action = actions_[name];
    const bool equal = state.value == action.expected;
    if ((action.kind == Action::Kind::kSee && equal) ||
        (action.kind == Action::Kind::kDiffer && !equal)) {
      state.done |= Bit(name);
    }
  }
  return state;
}

bool BlockHistory::Apply(const State& state, size_t name, State& next) const {
  const Action& action = actions_[name];
  if (!action.changes()) return false;
  if (action.kind == Action::Kind::kSwap && state.value != action.expected) return false;
  next = SeeAll({action.stored, state.done | Bit(name)});
  return true;
}

size_t BlockHistory::Begin(const Action& action) {
  CHECK(under_way_ != UINT32_MAX, "more at once than a block's history follows");
  const auto name = static_cast<size_t>(std::countr_one(under_way_));
  actions_[name] = action;
  under_way_ |= Bit(name);
  if (!action.changes()) {
    for (State& state : states_) state = SeeAll(state);
  }
  return name;
}

// Fills reached_ with the states in which `name` has had its effect, and no more has happened than
// had to for that.
void BlockHistory::Reach(size_t name) {
  reached_.clear();
  work_ = states_;
  for (size_t i = 0; i < work_.size(); ++i) {
    if ((work_[i].done & Bit(name)) != 0) {
      AddNew(reached_, work_[i]);
      continue;
    }
    for (uint32_t left = under_way_ & ~work_[i].done; left != 0; left &= left - 1) {
      State next;
      if (Apply(work_[i], static_cast<size_t>(std::countr_zero(left)), next)) AddNew(work_, next);
    }
  }
}

bool BlockHistory::End(size_t name) {
  Reach(name);
  if (!actions_[name].certain) {
    for (const State& state : states_) AddNew(reached_, state);
  }
  const bool explained = !reached_.empty();
  if (!explained) reached_ = states_;
  under_way_ &= ~Bit(name);
  states_.clear();
  for (State state : reached_) {
    state.done &= ~Bit(name);
    AddNew(states_, state);
  }
  return explained;
}

void BlockHistory::Settle(Value value) {
  CHECK(under_way_ == 0);
  states_ = {{value, 0}};
}

std::vector<Value> BlockHistory::values() const {
  std::vector<Value> all;
  for (const State& state : states_) AddNew(all, state.value);
  return all;
}

}  // namespace pollux::history
