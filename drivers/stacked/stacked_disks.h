#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/task_group.h"
#include "drivers/stacked/stacked_disk.h"

namespace pollux {

// What one call stacks on its bases: one disk, or several (a split). The bases are claimed for it,
// so that nobody else writes to them. Where a base goes, its disks go first; where it gets another
// size, they are asked what theirs should be. Control loop only.
//
//   kMaking --all disks registered--> kReady --a base goes, Delete--> kGoing --no disk left--> gone
class StackedDisks final : private DeviceRegistry::Observer {
 public:
  struct Stack {
    std::string name;   // Unique among stacks.
    std::string title;  // "passthru 'PT0'", for messages.
    std::vector<std::string> bases;
    std::string field = "base_bdev_name";  // Which parameter names them.
    std::function<Result<std::vector<std::unique_ptr<StackedDisk>>>(
        const std::vector<BlockDevice*>& bases)>
        make;
    // It is gone since a base is; it was there before.
    std::function<void(Status why)> on_base_gone = [](const Status&) {};
  };

  explicit StackedDisks(DeviceRegistry& devices);
  ~StackedDisks();  // After Drained(), when no stack is left.

  // ENODEV when a base is missing, or goes meanwhile; EPERM when it may not be claimed; and
  // whatever keeps a disk from being made. Then nothing is left of it.
  Task<Status> Create(Stack stack);
  // ENODEV when there is none.
  Task<Status> Delete(std::string name);
  bool Contains(const std::string& name) const { return stacks_.contains(name); }
  // In order; none when there is no such stack.
  std::vector<std::string> DisksOf(const std::string& name) const;

  // Until nothing of what it does by itself is under way.
  Task<void> Drained() { return tasks_.Drained(); }

 private:
  class Base;
  struct Live;

  Result<std::vector<BlockDevice*>> OpenBases(const std::shared_ptr<Live>& live);
  Task<Status> RegisterDisks(std::shared_ptr<Live> live, std::vector<BlockDevice*> bases);
  Task<void> TakeAway(std::shared_ptr<Live> live);
  Task<void> UnregisterDisk(std::string name);
  Task<void> Follow(std::shared_ptr<Live> live);
  void EndIfEmpty(const std::shared_ptr<Live>& live);

  void OnRegistered(BlockDevice&) override {}
  void OnUnregistered(const std::string& name) override;
  void OnResized(BlockDevice&) override {}

  DeviceRegistry& devices_;
  std::map<std::string, std::shared_ptr<Live>> stacks_;
  std::map<std::string, std::shared_ptr<Live>> by_disk_;
  // Users of a base that is still going, by the base's name: it closes them itself once more.
  std::multimap<std::string, std::shared_ptr<Live>> let_go_;
  TaskGroup tasks_;
};

}  // namespace pollux
