#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/unit/drivers/history/block_history.h"
#include "tests/unit/drivers/history/journal.h"

namespace pollux::history {

// What a disk promises beyond what every disk does.
struct Promises {
  bool keeps_data = true;           // False: it reads as zeroes, whatever was written.
  bool unmapped_reads_zero = true;  // False: or as what was there.
  // A reset through one reactor's channel may abort the I/O of others'.
  bool resets_reach_all = false;
  // A miscompare says where the difference was. Otherwise it may have been anywhere.
  bool tells_difference = true;
  // I/O may end with kInternalError or kNoResources: it is made to.
  bool fails_at_times = false;
};

// How the disk went.
struct Removal {
  uint64_t since = UINT64_MAX;  // The moment when it began to.
  bool slow = false;  // It outlasted BlockChannel's patience: what was left may have been aborted.
};

// The model of a disk: the history of each of its blocks, and of how I/O may end. It is told what
// the players did between two moments at which nothing was in flight.
class DiskHistory {
 public:
  explicit DiskHistory(Promises promises);

  // Checks what happened and forgets it. The first fault, with the history of its block; empty when
  // there is none.
  std::string Add(const std::vector<const Journal*>& journals, const std::vector<Growth>& growths,
                  const Removal& removal);
  // The disk comes anew, with so many blocks. From `zeroes_from` on there are zeroes.
  void Renew(uint64_t blocks, uint64_t zeroes_from);

  // Of this many I/Os the values of blocks were looked at.
  uint64_t looked_at() const { return looked_at_; }

 private:
  // An entry that is in flight, while its moments are walked through.
  struct Walk {
    const Entry* entry = nullptr;
    const Journal* journal = nullptr;
    std::vector<uint8_t> names;  // By block, of its actions; kNoAction: none.
  };
  struct Event {
    uint64_t moment;
    uint32_t walk;
    bool end;
  };

  std::string CheckEnd(const Entry& entry) const;
  bool MayBeAborted(const Entry& entry) const;
  bool ActionOf(const Walk& walk, uint64_t block, Action& action) const;
  void Begin(Walk& walk);
  std::string End(const Walk& walk);
  std::string CheckHalves(const Walk& walk) const;
  std::string Story(uint64_t lba, uint64_t until) const;
  std::string Fault(const Walk& walk, uint64_t block) const;

  const Promises promises_;
  uint64_t blocks_ = 0;  // Before the growths of this time.
  std::vector<BlockHistory> histories_;
  uint64_t looked_at_ = 0;

  // Of the time that is looked at.
  std::vector<Walk> walks_;
  size_t walk_count_ = 0;
  std::vector<Event> events_;
  std::vector<Growth> growths_;
  std::vector<const Entry*> resets_;
  std::unordered_map<uint64_t, const Walk*> swaps_;  // Compare-and-writes by number.
  Removal removal_;
};

}  // namespace pollux::history
