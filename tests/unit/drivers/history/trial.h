#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/drivers/history/disks.h"
#include "tests/unit/drivers/history/player.h"

namespace pollux::history {

// One disk, two players, and what happens to the disk meanwhile: it grows, its speed is
// limited, it is taken away under load and put back. From time to time nothing is in flight, and
// all that happened is held against the model.
class Trial final : private BlockUser {
 public:
  Trial(const DiskKind& kind, Stage::Reactors reactors, uint64_t seed);
  ~Trial();

  // False: this machine has not what the disk needs.
  bool possible() const { return disk_ != nullptr; }
  // Plays so many I/Os. Empty, or the first fault: with the seed and the history of the block.
  std::string Run(uint64_t operations);

  struct Counts {
    uint64_t operations = 0, removals = 0, growths = 0, limits = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  // BlockUser.
  std::string description() const override { return "a trial"; }
  Task<void> OnDeviceRemoving(BlockDevice&) override;
  void OnDeviceResized(BlockDevice&) override {}

  void Plug();
  std::string PlayAWhile();
  void StopPlayers();
  std::string Grow();
  std::string Limit();
  std::string Trouble();
  std::string Unplug();
  bool Quiet() const;
  uint64_t Begun() const;
  std::string Check();

  const DiskKind& kind_;
  const uint64_t seed_;
  Random random_;
  Stage stage_;
  Board board_;
  std::unique_ptr<DiskUnderTest> disk_;
  BlockDevice* device_ = nullptr;
  std::vector<std::unique_ptr<Player>> players_;
  DiskHistory history_;
  std::vector<Growth> growths_;
  Removal removal_;
  Counts counts_;
};

}  // namespace pollux::history
