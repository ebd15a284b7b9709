#include "drivers/stacked/stacked_disks.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/event.h"
#include "core/log.h"

namespace pollux {

// A base that a stack has open.
class StackedDisks::Base final : public BlockUser {
 public:
  Base(StackedDisks& owner, std::weak_ptr<Live> live, std::string title, BlockDevice& device)
      : owner_(owner), live_(std::move(live)), title_(std::move(title)), device_(device) {}

  std::string description() const override { return title_; }
  Task<void> OnDeviceRemoving(BlockDevice& device) override;
  void OnDeviceResized(BlockDevice&) override { owner_.tasks_.Spawn(owner_.Follow(live_.lock())); }
  BlockDevice& device() { return device_; }

 private:
  StackedDisks& owner_;
  const std::weak_ptr<Live> live_;  // It has this.
  const std::string title_;
  BlockDevice& device_;
};

struct StackedDisks::Live {
  explicit Live(Stack s) : stack(std::move(s)) {}
  Stack stack;
  std::vector<std::unique_ptr<Base>> bases;
  std::vector<std::string> disks;  // Those that are registered.
  bool making = true;
  Status why_gone;  // Not OK: a base goes.
  bool following = false, follow_again = false;
  Event gone;
};

Task<void> StackedDisks::Base::OnDeviceRemoving(BlockDevice& device) {
  const std::shared_ptr<Live> live = live_.lock();
  if (live->why_gone.ok()) {
    live->why_gone = ErrorOfField(ENODEV, live->stack.field, device.name(), "it was removed");
  }
  co_await owner_.TakeAway(live);
}

StackedDisks::StackedDisks(DeviceRegistry& devices) : devices_(devices) {
  devices_.AddObserver(*this);
}

StackedDisks::~StackedDisks() {
  CHECK(stacks_.empty() && let_go_.empty(), "stacked disks outlive what knows them");
  devices_.RemoveObserver(*this);
}

std::vector<std::string> StackedDisks::DisksOf(const std::string& name) const {
  const auto found = stacks_.find(name);
  return found == stacks_.end() ? std::vector<std::string>() : found->second->disks;
}

Task<Status> StackedDisks::Create(Stack stack) {
  if (Contains(stack.name)) {
    co_return ErrorOfField(EEXIST, "name", stack.name,
                           absl::StrFormat("there is %s already", stack.title));
  }
  const auto live = std::make_shared<Live>(std::move(stack));
  const Result<std::vector<BlockDevice*>> bases = OpenBases(live);
  stacks_[live->stack.name] = live;
  Status status = bases.status();
  if (status.ok()) status = co_await RegisterDisks(live, *bases);
  live->making = false;
  if (status.ok()) status = live->why_gone;
  if (status.ok()) {
    co_await Follow(live);  // A base may have grown meanwhile.
    co_return live->why_gone;
  }
  live->stack.on_base_gone = [](const Status&) {};  // The caller hears of it from here.
  co_await TakeAway(live);
  co_return status;
}

// What was opened before one that cannot be is closed with the stack.
Result<std::vector<BlockDevice*>> StackedDisks::OpenBases(const std::shared_ptr<Live>& live) {
  std::vector<BlockDevice*> devices;
  for (const std::string& name : live->stack.bases) {
    const Result<BlockDevice*> device = devices_.Find(name);
    if (!device.ok()) {
      return ErrorOfField(ENODEV, live->stack.field, name, "there is no such block device");
    }
    auto base = std::make_unique<Base>(*this, live, live->stack.title, **device);
    RETURN_IF_ERROR((*device)->Open(*base, !(*device)->read_only()));
    live->bases.push_back(std::move(base));
    RETURN_IF_ERROR((*device)->Claim(*live->bases.back(), ClaimType::kExclusiveWrite));
    devices.push_back(*device);
  }
  return devices;
}

Task<Status> StackedDisks::RegisterDisks(std::shared_ptr<Live> live,
                                         std::vector<BlockDevice*> bases) {
  auto made = live->stack.make(bases);
  CO_RETURN_IF_ERROR(made.status());
  for (std::unique_ptr<StackedDisk>& disk : *made) {
    const std::string name = disk->name();
    CO_RETURN_IF_ERROR((co_await devices_.Register(std::move(disk))).status());
    live->disks.push_back(name);
    by_disk_[name] = live;
    CO_RETURN_IF_ERROR(live->why_gone);
  }
  co_return OkStatus();
}

Task<Status> StackedDisks::Delete(std::string name) {
  const auto found = stacks_.find(name);
  if (found == stacks_.end()) {
    co_return ErrorOfField(ENODEV, "name", name, "there is no such stacked disk");
  }
  const std::shared_ptr<Live> live = found->second;
  live->stack.on_base_gone = [](const Status&) {};  // Even if it goes at the same time.
  co_await TakeAway(live);
  co_return OkStatus();
}

// Returns when the stack is gone. What is being made goes when it is.
Task<void> StackedDisks::TakeAway(std::shared_ptr<Live> live) {
  if (!live->making) {
    const std::vector<std::string> disks = live->disks;
    for (const std::string& name : disks) tasks_.Spawn(UnregisterDisk(name));
    EndIfEmpty(live);
  }
  co_await live->gone;
}

Task<void> StackedDisks::UnregisterDisk(std::string name) {
  const Status status = co_await devices_.Unregister(name);
  // It is as good when somebody else does it.
  if (!status.ok() && ErrnoOf(status) != EBUSY && ErrnoOf(status) != ENODEV) {
    LogError("block", "%s: %s", name, status.message());
  }
}

void StackedDisks::OnUnregistered(const std::string& name) {
  const auto disk = by_disk_.find(name);
  if (disk != by_disk_.end()) {
    const std::shared_ptr<Live> live = disk->second;
    by_disk_.erase(disk);
    std::erase(live->disks, name);
    EndIfEmpty(live);
  }
  let_go_.erase(name);
}

void StackedDisks::EndIfEmpty(const std::shared_ptr<Live>& live) {
  if (live->making || !live->disks.empty() || live->gone.is_set()) return;
  for (const auto& base : live->bases) {
    BlockDevice& device = base->device();
    if (device.state() == BlockDevice::State::kRemoving) let_go_.emplace(device.name(), live);
    device.Close(*base);
  }
  stacks_.erase(live->stack.name);
  if (!live->why_gone.ok()) live->stack.on_base_gone(live->why_gone);
  live->gone.Set();
}

// One at a time for each stack.
Task<void> StackedDisks::Follow(std::shared_ptr<Live> live) {
  live->follow_again = true;
  if (live->making || std::exchange(live->following, true)) co_return;
  while (std::exchange(live->follow_again, false)) {
    const std::vector<std::string> disks = live->disks;
    for (const std::string& name : disks) {
      const Result<BlockDevice*> found = devices_.Find(name);
      if (!found.ok()) continue;
      auto* const disk = static_cast<StackedDisk*>(*found);
      const uint64_t blocks = disk->BlocksOverBases();
      if (blocks == disk->geometry().blocks) continue;
      const Status status = co_await devices_.Resize(*disk, blocks);
      if (!status.ok()) LogWarning("block", "%s: %s", name, status.message());
    }
  }
  live->following = false;
}

}  // namespace pollux
