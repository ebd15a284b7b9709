// Which way I/O goes.
#include <algorithm>

#include "core/check.h"
#include "drivers/nvme_disk/nvme_io.h"
#include "drivers/nvme_disk/nvme_lane.h"

namespace pollux {
namespace {

constexpr uint64_t kReviveNs = 5 * kNsPerMs;

}  // namespace

void NvmePathCounters::PerType::Add(const PerType& more) {
  operations += more.operations;
  bytes += more.bytes;
  latency_ns += more.latency_ns;
  latency_max_ns = std::max(latency_max_ns, more.latency_max_ns);
  const bool shorter = latency_min_ns == 0 || more.latency_min_ns < latency_min_ns;
  if (more.latency_min_ns != 0 && shorter) latency_min_ns = more.latency_min_ns;
}

// --- One lane.

NvmeChannel::Lane::Rank NvmeChannel::Lane::rank() const {
  if (closed || failing || !pollux_nvme_namespace_active(ns)) return kNoUse;
  switch (queue.condition()) {
    case NvmeCondition::kReady:
      if (access == NvmeAccess::kOptimized) return kOptimized;
      if (access == NvmeAccess::kNonOptimized) return kNonOptimized;
      return MayBecomeAccessible(access) ? kChanging : kNoUse;
    case NvmeCondition::kAwaited:
      return kAwaited;
    case NvmeCondition::kDisabled:
      return kRefusing;
    case NvmeCondition::kDead:
      return kNoUse;
  }
  return kNoUse;
}

void NvmeChannel::Lane::Keep(Io& io) {
  channel_.facts_.lost_changes.fetch_add(1, std::memory_order_relaxed);
  if (!asked_.empty()) return lost_.PushBack(io);
  asked_.PushBack(io);
  queue.AwaitSettled(*this);
}

void NvmeChannel::Lane::OnSettled() {
  NvmeCommand::Line settled;
  settled.TakeAll(asked_);
  if (!lost_.empty()) {
    asked_.TakeAll(lost_);
    queue.AwaitSettled(*this);
  }
  channel_.facts_.lost_changes.fetch_sub(static_cast<uint32_t>(settled.size()),
                                         std::memory_order_relaxed);
  while (NvmeCommand* command = settled.PopFront()) static_cast<Io*>(command)->OnSettled();
  channel_.Revive();
}

void NvmeChannel::Lane::OnCondition() {
  failing = false;
  channel_.OnLanesChanged();
}

void NvmeChannel::Lane::Count(const IoRequest& request) {
  const uint64_t took_ns =
      std::max<uint64_t>(channel_.reactor().NowNs() - request.submitted_ns(), 1);
  const NvmePathCounters::PerType one{.operations = 1,
                                      .bytes = request.blocks * channel_.facts_.block_bytes,
                                      .latency_ns = took_ns,
                                      .latency_max_ns = took_ns,
                                      .latency_min_ns = took_ns};
  switch (request.type) {
    case IoType::kRead:
    case IoType::kCompare:
      return counters.read.Add(one);
    case IoType::kWrite:
    case IoType::kWriteZeroes:
    case IoType::kCompareAndWrite:
      return counters.write.Add(one);
    case IoType::kUnmap:
      return counters.unmap.Add(one);
    case IoType::kFlush:
    case IoType::kReset:
    case IoType::kAbort:
      ++counters.others;
  }
}

// --- All of them.

NvmeChannel::Lane* NvmeChannel::LaneOf(const NvmeRoute& route) {
  const auto its = [&route](const Lane* lane) { return &lane->route == &route; };
  return *std::find_if(in_order_.begin(), in_order_.end(), its);
}

void NvmeChannel::AddLane(const NvmeRoute& route, NvmeQueue& queue, NvmeAccess access) {
  const auto free = std::find(lanes_.begin(), lanes_.end(), nullptr);
  CHECK(free != lanes_.end());
  const auto index = static_cast<size_t>(free - lanes_.begin());
  *free = std::make_unique<Lane>(*this, route, queue, index);
  (*free)->access = access;
  in_order_.push_back(free->get());
  OnLanesChanged();
}

void NvmeChannel::CloseLane(const NvmeRoute& route) {
  LaneOf(route)->closed = true;
  OnLanesChanged();
}

void NvmeChannel::ReopenLane(const NvmeRoute& route, NvmeAccess access) {
  Lane* const lane = LaneOf(route);
  lane->ns = route.ns;
  lane->access = access;
  lane->closed = lane->failing = false;
  OnLanesChanged();
}

void NvmeChannel::RemoveLane(const NvmeRoute& route) {
  Lane* const lane = LaneOf(route);
  if (current_ == lane) current_ = nullptr;
  if (preferred_ == &route) preferred_ = nullptr;
  std::erase(in_order_, lane);
  lanes_[lane->index].reset();
  OnLanesChanged();
}

void NvmeChannel::SetAccess(const NvmeRoute& route, NvmeAccess access) {
  LaneOf(route)->access = access;
  OnLanesChanged();
}

void NvmeChannel::SetChoice(const NvmePathChoice& choice, const NvmeRoute* preferred) {
  choice_ = choice;
  preferred_ = preferred;
  current_ = nullptr;
  turn_left_ = 0;
  OnLanesChanged();
}

std::vector<NvmeChannel::LaneInfo> NvmeChannel::Lanes() {
  std::vector<LaneInfo> all;
  for (const Lane* lane : in_order_) {
    all.push_back({.route = &lane->route,
                   .current = lane == plain_lane_ || lane == current_,
                   .connected = lane->queue.condition() == NvmeCondition::kReady,
                   .accessible = IsAccessible(lane->access),
                   .counters = lane->counters});
  }
  return all;
}

void NvmeChannel::OnLanesChanged() {
  plain_lane_ = nullptr;
  if (choice_.policy == NvmePathChoice::Policy::kActivePassive || in_order_.size() == 1) {
    Lane* const chosen = ChooseLane();
    if (chosen != nullptr && chosen->TakesIo()) plain_lane_ = chosen;
  }
  Revive();
}

NvmeChannel::Lane* NvmeChannel::ChooseLane(const Lane* avoided) {
  int best = Lane::kNoUse;
  int best_else = Lane::kNoUse;  // Without the avoided one.
  for (const Lane* lane : in_order_) {
    const int rank = lane->rank();
    best = std::min(best, rank);
    if (lane != avoided) best_else = std::min(best_else, rank);
  }
  if (best_else <= Lane::kNonOptimized) {
    best = best_else;
  } else {
    avoided = nullptr;
  }
  if (best == Lane::kNoUse || best == Lane::kChanging) return nullptr;
  Lane* const chosen = Pick(best, avoided);
  if (best <= Lane::kNonOptimized) current_ = chosen;
  return chosen;
}

// One of those that have this rank; there is one.
NvmeChannel::Lane* NvmeChannel::Pick(int rank, const Lane* avoided) {
  const auto fits = [&](const Lane* lane) {
    return lane != nullptr && lane != avoided && lane->rank() == rank;
  };
  const bool active = choice_.policy == NvmePathChoice::Policy::kActiveActive;
  if (active && choice_.selector == NvmePathChoice::Selector::kRoundRobin) {
    if (turn_left_ > 0 && fits(current_)) {
      --turn_left_;
      return current_;
    }
    turn_left_ = std::max(choice_.min_io, 1u) - 1;
    const auto last = std::find(in_order_.begin(), in_order_.end(), current_);
    const auto next =
        last == in_order_.end() ? last : std::find_if(last + 1, in_order_.end(), fits);
    return next != in_order_.end() ? *next
                                   : *std::find_if(in_order_.begin(), in_order_.end(), fits);
  }
  if (!active && !choice_.failback && fits(current_)) return current_;
  Lane* chosen = nullptr;
  for (Lane* lane : in_order_) {
    if (!fits(lane)) continue;
    const bool better = active ? chosen != nullptr && lane->queue.load() < chosen->queue.load()
                               : &lane->route == preferred_;
    if (chosen == nullptr || better) chosen = lane;
  }
  return chosen;
}

bool NvmeChannel::MayGetLane() const {
  return std::any_of(in_order_.begin(), in_order_.end(),
                     [](const Lane* lane) { return lane->rank() <= Lane::kChanging; });
}

void NvmeChannel::Await(Io& io) {
  waiting_.PushBack(io);
  if (!reviver_->armed()) reactor().ArmTimerIn(*reviver_, kReviveNs);
}

void NvmeChannel::Revive() {
  for (size_t left = waiting_.size(); left > 0 && !waiting_.empty(); --left) {
    static_cast<Io*>(waiting_.PopFront())->Send();
  }
}

}  // namespace pollux
