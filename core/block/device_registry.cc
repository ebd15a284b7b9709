#include "core/block/device_registry.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "core/block/range_lock.h"
#include "core/check.h"
#include "core/log.h"
#include "core/run_on.h"
#include "core/task_group.h"

namespace pollux {
namespace {

// Drivers have checked what came from a caller; this is about us.
void CheckGeometry(const Geometry& g) {
  CHECK(std::has_single_bit(g.block_bytes) && g.block_bytes >= 512 && g.block_bytes <= 65536);
  CHECK(g.physical_block_bytes >= g.block_bytes && g.physical_block_bytes % g.block_bytes == 0);
  CHECK(g.blocks <= std::numeric_limits<int64_t>::max() / (g.block_bytes + g.metadata_bytes),
        "its bytes cannot be counted");
}

}  // namespace

DeviceRegistry::~DeviceRegistry() {
  CHECK(devices_.empty(), "block devices outlive their registry");
}

BlockDevice* DeviceRegistry::FindAny(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

Result<BlockDevice*> DeviceRegistry::Find(std::string_view name) const {
  BlockDevice* device = FindAny(name);
  if (device == nullptr || device->state() != BlockDevice::State::kReady) {
    return ErrorOfField(ENODEV, "name", name, "there is no such block device");
  }
  return device;
}

Result<BlockDevice*> DeviceRegistry::FindKind(std::string_view name,
                                              std::string_view product_name) const {
  ASSIGN_OR_RETURN(BlockDevice * device, Find(name));
  if (device->product_name() == product_name) return device;
  return ErrorOfField(
      ENODEV, "name", name,
      absl::StrFormat("it is a %s, not a %s", device->product_name(), product_name));
}

std::string DeviceRegistry::UnusedName(const std::string& prefix) const {
  for (size_t i = 0;; ++i) {
    std::string name = prefix + std::to_string(i);
    if (FindAny(name) == nullptr) return name;
  }
}

std::vector<BlockDevice*> DeviceRegistry::devices() const {
  std::vector<BlockDevice*> all;
  for (const auto& device : devices_) {
    if (device->state() != BlockDevice::State::kMade) all.push_back(device.get());
  }
  return all;
}

void DeviceRegistry::AddObserver(Observer& observer) { observers_.push_back(&observer); }
void DeviceRegistry::RemoveObserver(Observer& observer) { std::erase(observers_, &observer); }

Task<Result<BlockDevice*>> DeviceRegistry::Register(std::unique_ptr<BlockDevice> made) {
  BlockDevice& device = *made;
  CHECK(device.state_ == BlockDevice::State::kMade && !device.name().empty());
  CheckGeometry(device.geometry());
  if (FindAny(device.name()) != nullptr) {
    co_return ErrorOfField(EEXIST, "name", device.name(), "a block device has this name already");
  }
  for (const std::string& alias : device.aliases()) {
    const BlockDevice* other = FindAny(alias);
    if (other == nullptr) continue;
    co_return ErrorOfField(EEXIST, "uuid", alias,
                           absl::StrFormat("block device '%s' has it already", other->name()));
  }
  // The names are taken from here on, though nobody finds the device before it is ready.
  by_name_.emplace(device.name(), &device);
  for (const std::string& alias : device.aliases()) by_name_.emplace(alias, &device);
  devices_.push_back(std::move(made));
  device.number_ = next_number_++;
  device.traces_ = &traces_;
  traces_.Named(device.number_, device.name());

  if (Status status = co_await MakeChannels(device); !status.ok()) {
    co_await DestroyChannels(device);
    co_await device.Shutdown();
    Forget(device);
    co_return status;
  }
  device.state_ = BlockDevice::State::kReady;
  const std::vector<Observer*> observers = observers_;
  for (Observer* observer : observers) observer->OnRegistered(device);
  co_return &device;
}

Task<Status> DeviceRegistry::MakeChannels(BlockDevice& device) {
  if (device.Supports(IoType::kCompareAndWrite) && !device.Executes(IoType::kCompareAndWrite)) {
    device.range_lock_ = std::make_unique<RangeLock>(reactors_);
  }
  device.channels_.resize(reactors_.size());
  for (auto& reactor : reactors_) {
    auto make = [&device, r = reactor.get()] { return device.MakeChannel(*r); };
    Result<std::unique_ptr<BlockChannel>> channel = co_await RunOn(*reactor, make);
    CO_RETURN_IF_ERROR(channel.status());
    device.channels_[reactor->index()] = *std::move(channel);
  }
  co_return OkStatus();
}

Task<void> DeviceRegistry::DestroyChannels(BlockDevice& device) {
  for (auto& reactor : reactors_) {
    std::unique_ptr<BlockChannel> channel = std::move(device.channels_[reactor->index()]);
    if (channel == nullptr) continue;
    auto destroy = [&channel] { channel.reset(); };
    co_await RunOn(*reactor, destroy);
  }
  device.channels_.clear();
  device.range_lock_.reset();
}

std::unique_ptr<BlockDevice> DeviceRegistry::Forget(BlockDevice& device) {
  by_name_.erase(device.name());
  for (const std::string& alias : device.aliases()) by_name_.erase(alias);
  traces_.Gone(device.number_);
  const auto place = std::find_if(devices_.begin(), devices_.end(),
                                  [&device](const auto& d) { return d.get() == &device; });
  std::unique_ptr<BlockDevice> forgotten = std::move(*place);
  devices_.erase(place);
  return forgotten;
}

Task<Status> DeviceRegistry::Unregister(std::string name) {
  BlockDevice* const device = FindAny(name);
  if (device == nullptr || device->state_ == BlockDevice::State::kMade) {
    co_return ErrorOfField(ENODEV, "name", name, "there is no such block device");
  }
  if (device->state_ != BlockDevice::State::kReady) {
    co_return ErrorOfField(EBUSY, "name", name, "it is being removed already");
  }
  device->state_ = BlockDevice::State::kRemoving;
  for (auto& reactor : reactors_) {
    auto refuse = [channel = device->channel(reactor->index())] { channel->StartRemoving(); };
    co_await RunOn(*reactor, refuse);
  }
  co_await LetUsersGo(*device);
  { const Turn::Holder changed = co_await device->changing_.Take(); }

  Loop* const home = Loop::Current();
  for (auto& reactor : reactors_) {
    co_await SwitchTo(*reactor);
    BlockChannel::Drained drained{*device->channel(reactor->index())};
    co_await drained;
    co_await SwitchTo(*home);
  }
  if (device->range_lock_ != nullptr) {
    co_await SwitchTo(device->range_lock_->home());
    RangeLock::Idle idle{*device->range_lock_};
    co_await idle;
    co_await SwitchTo(*home);
  }
  co_await DestroyChannels(*device);
  co_await device->Shutdown();

  const std::string its_name = device->name();  // `name` may be an alias.
  device->state_ = BlockDevice::State::kGone;
  Forget(*device);
  const std::vector<Observer*> observers = observers_;
  for (Observer* observer : observers) observer->OnUnregistered(its_name);
  co_return OkStatus();
}

Task<Status> DeviceRegistry::UnregisterKind(std::string name, std::string product_name) {
  // One that is being removed already is left to Unregister to say.
  if (const BlockDevice* device = FindAny(name);
      device == nullptr || device->product_name() != product_name) {
    co_return ErrorOfField(ENODEV, "name", name,
                           absl::StrFormat("there is no such %s", product_name));
  }
  co_return co_await Unregister(std::move(name));
}

// All at once: each waits for I/O of its own to end.
Task<void> DeviceRegistry::LetUsersGo(BlockDevice& device) {
  TaskGroup leaving;
  const std::vector<BlockUser*> users = device.users_;
  for (BlockUser* user : users) leaving.Spawn(user->OnDeviceRemoving(device));
  co_await leaving.Drained();
  for (BlockUser* user : users) device.Close(*user);
}

Task<Status> DeviceRegistry::Resize(BlockDevice& device, uint64_t blocks) {
  if (device.state_ != BlockDevice::State::kReady) {
    co_return ErrorOfField(ENODEV, "name", device.name(), "it is being removed");
  }
  const Turn::Holder changing = co_await device.changing_.Take();
  CO_RETURN_IF_ERROR(device.CheckResize(blocks));
  if (blocks == device.geometry_.blocks) co_return OkStatus();
  // Whoever sees the new size may use it at once, so channels know a larger one first.
  for (auto& reactor : reactors_) {
    auto resize = [&device, blocks, r = reactor.get()] {
      device.channel(r->index())->Resize(blocks);
    };
    co_await RunOn(*reactor, resize);
    if (device.state_ != BlockDevice::State::kReady) {
      co_return ErrorOfField(ENODEV, "name", device.name(), "it was removed meanwhile");
    }
  }
  device.geometry_.blocks = blocks;
  const std::vector<BlockUser*> users = device.users_;
  for (BlockUser* user : users) user->OnDeviceResized(device);
  const std::vector<Observer*> observers = observers_;
  for (Observer* observer : observers) observer->OnResized(device);
  co_return OkStatus();
}

Task<Status> DeviceRegistry::SetRateLimits(BlockDevice& device, RateLimits limits) {
  if (device.state_ != BlockDevice::State::kReady) {
    co_return ErrorOfField(ENODEV, "name", device.name(), "it is being removed");
  }
  const Turn::Holder changing = co_await device.changing_.Take();
  if (device.state_ != BlockDevice::State::kReady) {
    co_return ErrorOfField(ENODEV, "name", device.name(), "it was removed meanwhile");
  }
  // The channels use the old ones until each has been given the new.
  std::unique_ptr<RateBuckets> buckets;
  if (limits.any()) buckets = std::make_unique<RateBuckets>(limits);
  for (auto& reactor : reactors_) {
    auto limit = [&device, b = buckets.get(), r = reactor.get()] {
      device.channel(r->index())->Limit(b);
    };
    co_await RunOn(*reactor, limit);
  }
  device.rate_limits_ = limits;
  device.rate_buckets_ = std::move(buckets);
  co_return OkStatus();
}

Task<void> DeviceRegistry::ForChannels(BlockDevice& device,
                                       std::function<void(BlockChannel&)> step) {
  for (auto& reactor : reactors_) {
    auto here = [&step, channel = device.channel(reactor->index())] { step(*channel); };
    co_await RunOn(*reactor, here);
  }
}

Task<Status> DeviceRegistry::OnEachChannel(std::string name,
                                           std::function<void(BlockChannel&)> step) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, Find(name));
  const Turn::Holder changing = co_await device->changing_.Take();
  co_await ForChannels(*device, std::move(step));
  co_return OkStatus();
}

Task<Status> DeviceRegistry::SetHistograms(std::string name, DeviceHistograms histograms) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, Find(name));
  CHECK(histograms.by_reactor.empty() || histograms.by_reactor.size() == reactors_.size());
  const Turn::Holder changing = co_await device->changing_.Take();
  const std::function<void(BlockChannel&)> set = [&histograms](BlockChannel& channel) {
    if (histograms.by_reactor.empty()) return channel.watch().SetHistogram(nullptr, 0);
    Histogram* const own = histograms.by_reactor[channel.reactor().index()].get();
    channel.watch().SetHistogram(own, histograms.types);
  };
  co_await ForChannels(*device, set);
  // Nobody adds to the old ones any more.
  device->histograms_ = std::move(histograms);
  co_return OkStatus();
}

void DeviceRegistry::OnTimedOut(const std::string& name) {
  const std::vector<Observer*> observers = observers_;
  for (Observer* observer : observers) observer->OnTimedOut(name);
}

}  // namespace pollux
