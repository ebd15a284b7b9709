#include "tests/unit/drivers/history/disk_history.h"

#include <algorithm>

#include "core/status.h"

namespace pollux::history {
namespace {

constexpr uint8_t kNoAction = UINT8_MAX;
// How much of a block's history a failure shows.
constexpr size_t kStoryLines = 16;

bool HasRange(IoType type) {
  return type != IoType::kFlush && type != IoType::kReset && type != IoType::kAbort;
}

bool Covers(const Entry& entry, uint64_t lba) {
  return HasRange(entry.type) && lba >= entry.lba && lba - entry.lba < entry.blocks;
}

bool Overlap(const Entry& a, const Entry& b) { return a.began < b.ended && b.began < a.ended; }

std::string Line(const Entry& entry) {
  return absl::StrFormat("  %u..%u reactor %u: %s%s%s of %u+%u%s: %s", entry.began, entry.ended,
                         entry.reactor, entry.lent ? "lent " : "", IoTypeName(entry.type),
                         entry.fua ? " (FUA)" : "", entry.lba, entry.blocks,
                         entry.abort_asked ? ", to be aborted" : "", IoStatusName(entry.status));
}

}  // namespace

DiskHistory::DiskHistory(Promises promises) : promises_(promises), histories_(kLbasMax) {}

void DiskHistory::Renew(uint64_t blocks, uint64_t zeroes_from) {
  blocks_ = blocks;
  for (uint64_t i = zeroes_from; i < histories_.size(); ++i) histories_[i].Settle(kZeroes);
}

std::string DiskHistory::Add(const std::vector<const Journal*>& journals,
                             const std::vector<Growth>& growths, const Removal& removal) {
  growths_ = growths;
  removal_ = removal;
  walk_count_ = 0;
  events_.clear();
  resets_.clear();
  swaps_.clear();
  size_t total = 0;
  for (const Journal* journal : journals) total += journal->entries.size();
  if (walks_.size() < total) walks_.resize(total);
  for (const Journal* journal : journals) {
    for (const Entry& entry : journal->entries) {
      Walk& walk = walks_[walk_count_];
      walk.entry = &entry;
      walk.journal = journal;
      const auto index = static_cast<uint32_t>(walk_count_++);
      events_.push_back({entry.began, index, false});
      events_.push_back({entry.ended, index, true});
      if (entry.type == IoType::kReset) resets_.push_back(&entry);
      if (entry.type == IoType::kCompareAndWrite) swaps_.emplace(entry.write, &walk);
    }
  }
  std::sort(events_.begin(), events_.end(),
            [](const Event& a, const Event& b) { return a.moment < b.moment; });
  for (const Event& event : events_) {
    Walk& walk = walks_[event.walk];
    if (!event.end) {
      Begin(walk);
      continue;
    }
    std::string fault = CheckEnd(*walk.entry);
    if (fault.empty()) fault = End(walk);
    if (fault.empty()) fault = CheckHalves(walk);
    if (!fault.empty()) return fault;
  }
  for (const Growth& growth : growths_) blocks_ = std::max(blocks_, growth.blocks);
  return {};
}

bool DiskHistory::MayBeAborted(const Entry& entry) const {
  if (entry.abort_asked) return true;
  if (removal_.slow && entry.ended > removal_.since) return true;
  if (!promises_.resets_reach_all) return false;
  return std::any_of(resets_.begin(), resets_.end(),
                     [&entry](const Entry* reset) { return Overlap(*reset, entry); });
}

// Whether that is how it may end at all.
std::string DiskHistory::CheckEnd(const Entry& entry) const {
  uint64_t least = blocks_, most = blocks_;
  for (const Growth& growth : growths_) {
    if (growth.ended < entry.began) least = std::max(least, growth.blocks);
    if (growth.began < entry.ended) most = std::max(most, growth.blocks);
  }
  const uint64_t reach = HasRange(entry.type) ? entry.lba + entry.blocks : 0;
  bool fine = false;
  switch (entry.status) {
    case IoStatus::kSuccess:
      fine = reach <= most && !entry.abort_granted;
      break;
    case IoStatus::kOutOfRange:
      fine = reach > least;
      break;
    case IoStatus::kMiscompare:
      fine = entry.type == IoType::kCompare || entry.type == IoType::kCompareAndWrite;
      break;
    case IoStatus::kAborted:
      fine = MayBeAborted(entry);
      break;
    case IoStatus::kGone:
      fine = entry.ended > removal_.since;
      break;
    case IoStatus::kInternalError:
    case IoStatus::kNoResources:
      fine = promises_.fails_at_times;
      break;
    default:
      break;
  }
  // What was stopped says so, whatever else has happened to it.
  if (entry.abort_granted && entry.status != IoStatus::kAborted) fine = false;
  if (fine) return {};
  return absl::StrFormat("may not end so%s:\n%s\n",
                         entry.abort_granted ? " (the abort has succeeded)" : "", Line(entry)) +
         Story(entry.lba, entry.ended);
}

// False: it neither changes the block nor says what was in it.
bool DiskHistory::ActionOf(const Walk& walk, uint64_t block, Action& action) const {
  const Entry& entry = *walk.entry;
  const bool success = entry.status == IoStatus::kSuccess;
  // It was refused before anything was done.
  if (entry.status == IoStatus::kOutOfRange || !HasRange(entry.type)) return false;
  const auto value = [&] { return walk.journal->values[entry.values + block]; };
  const bool miscompare = entry.status == IoStatus::kMiscompare;
  action = {};
  action.certain = success;
  switch (entry.type) {
    case IoType::kRead:
      action.expected = success ? value() : 0;
      return success;
    case IoType::kWrite:
      action.kind = Action::Kind::kStore;
      action.stored = ValueOf(entry.write, entry.lba + block);
      return promises_.keeps_data;
    case IoType::kUnmap:
    case IoType::kWriteZeroes:
      action.kind = Action::Kind::kStore;
      action.stored = kZeroes;
      if (entry.type == IoType::kUnmap && !promises_.unmapped_reads_zero) action.certain = false;
      return true;
    case IoType::kCompare:
    case IoType::kCompareAndWrite:
      action.expected = value();
      if (miscompare) {
        // Before the first difference all is equal; behind it nothing is said.
        action.certain = true;
        if (!promises_.tells_difference) {
          action.kind = Action::Kind::kDiffer;
          return entry.blocks == 1;
        }
        if (block == entry.miscompare_block) action.kind = Action::Kind::kDiffer;
        return block <= entry.miscompare_block;
      }
      if (entry.type == IoType::kCompare) return success;
      action.kind = Action::Kind::kSwap;
      action.stored = ValueOf(entry.write, entry.lba + block);
      return true;
    default:
      return false;
  }
}

void DiskHistory::Begin(Walk& walk) {
  const Entry& entry = *walk.entry;
  walk.names.assign(HasRange(entry.type) ? entry.blocks : 0, kNoAction);
  for (uint64_t block = 0; block < walk.names.size(); ++block) {
    Action action;
    if (!ActionOf(walk, block, action)) continue;
    walk.names[block] = static_cast<uint8_t>(histories_[entry.lba + block].Begin(action));
  }
}

std::string DiskHistory::End(const Walk& walk) {
  ++looked_at_;
  for (uint64_t block = 0; block < walk.names.size(); ++block) {
    if (walk.names[block] == kNoAction) continue;
    if (!histories_[walk.entry->lba + block].End(walk.names[block])) return Fault(walk, block);
  }
  return {};
}

// A compare-and-write happens in all of its blocks at once: who sees one of them after it sees none
// as it was before.
std::string DiskHistory::CheckHalves(const Walk& walk) const {
  const Entry& read = *walk.entry;
  if (read.type != IoType::kRead || read.status != IoStatus::kSuccess) return {};
  const Value* const seen = walk.journal->values.data() + read.values;
  for (uint64_t block = 0; block < read.blocks; ++block) {
    const auto found = swaps_.find(seen[block] / kLbasMax);
    if (found == swaps_.end()) continue;
    const Entry& swap = *found->second->entry;
    const Value* const expected = found->second->journal->values.data() + swap.values;
    for (uint64_t other = 0; other < read.blocks; ++other) {
      const uint64_t lba = read.lba + other;
      // Zeroes may have come again; of everything else there is only one.
      if (!Covers(swap, lba) || seen[other] == kZeroes) continue;
      if (seen[other] != expected[lba - swap.lba]) continue;
      return absl::StrFormat("a compare-and-write was seen in half, between blocks %u and %u:\n",
                             read.lba + block, lba) +
             Story(lba, read.ended);
    }
  }
  return {};
}

std::string DiskHistory::Fault(const Walk& walk, uint64_t block) const {
  const Entry& entry = *walk.entry;
  const uint64_t lba = entry.lba + block;
  std::string text = absl::StrFormat("nothing explains block %u in:\n%s\n", lba, Line(entry));
  for (const Value value : histories_[lba].values()) {
    text += absl::StrFormat("  it may hold %s\n", Describe(value));
  }
  return text + Story(lba, entry.ended);
}

// What was done to a block before that, and what it was seen to hold: the last of it.
std::string DiskHistory::Story(uint64_t lba, uint64_t until) const {
  std::vector<const Walk*> all;
  for (size_t i = 0; i < walk_count_; ++i) {
    if (walks_[i].entry->began <= until && Covers(*walks_[i].entry, lba)) {
      all.push_back(&walks_[i]);
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Walk* a, const Walk* b) { return a->entry->began < b->entry->began; });
  if (all.size() > kStoryLines) all.erase(all.begin(), all.end() - kStoryLines);
  std::string text = absl::StrFormat("the history of block %u (moments):\n", lba);
  for (const Walk* walk : all) {
    text += Line(*walk->entry);
    Action action;
    if (ActionOf(*walk, lba - walk->entry->lba, action)) {
      const bool looks = action.kind != Action::Kind::kStore;
      if (looks) {
        text +=
            absl::StrFormat(", %s %s", action.kind == Action::Kind::kDiffer ? "was not" : "held",
                            Describe(action.expected));
      }
      if (action.changes()) {
        text += absl::StrFormat(", %s %s", action.certain ? "then" : "then perhaps",
                                Describe(action.stored));
      }
    }
    text += '\n';
  }
  return text;
}

}  // namespace pollux::history
