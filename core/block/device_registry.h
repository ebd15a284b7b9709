#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_device.h"
#include "core/block/io_traces.h"

namespace pollux {

// All block devices by name and alias. Control loop only.
class DeviceRegistry {
 public:
  class Observer {
   public:
    virtual void OnRegistered(BlockDevice& device) = 0;
    virtual void OnUnregistered(const std::string& name) = 0;
    virtual void OnResized(BlockDevice& device) = 0;
    // I/O takes longer than the time that was set for the device. Once for all that is found at a
    // time on one reactor; see io_timeout.h.
    virtual void OnTimedOut(const std::string& name) { static_cast<void>(name); }

   protected:
    ~Observer() = default;
  };

  explicit DeviceRegistry(Reactors& reactors) : reactors_(reactors), traces_(reactors) {}
  ~DeviceRegistry();  // CHECKs that it is empty.

  // Makes a channel on every reactor; when one fails, all is undone. EEXIST when the name, or an
  // alias, is taken.
  Task<Result<BlockDevice*>> Register(std::unique_ptr<BlockDevice> device);
  // New I/O gets kGone; users let go; what is in flight ends; the device is destroyed.
  // ENODEV when there is none; EBUSY when it is being removed already.
  Task<Status> Unregister(std::string name);
  // The same for one kind of device: ENODEV when it is another. What bdev_malloc_delete means.
  Task<Status> UnregisterKind(std::string name, std::string product_name);
  // Changes the size, tells every channel and user. Shrinking below what is in use is the caller's
  // decision. ENOTSUP when this kind of device keeps its size.
  Task<Status> Resize(BlockDevice& device, uint64_t blocks);
  // Runs `step` on each reactor, with the device's channel there. A removal waits until it has.
  Task<Status> OnEachChannel(std::string name, std::function<void(BlockChannel&)> step);
  // From now on the device's channels add their latencies to these.
  Task<Status> SetHistograms(std::string name, DeviceHistograms histograms);

  // Holds for I/O on all reactors when it ends; what waits for the old limits waits for the new.
  Task<Status> SetRateLimits(BlockDevice& device, RateLimits limits);

  // By name or alias. Fails with ENODEV.
  Result<BlockDevice*> Find(std::string_view name) const;
  // The same for one kind of device: ENODEV when it is another.
  Result<BlockDevice*> FindKind(std::string_view name, std::string_view product_name) const;
  // "Malloc0", "Malloc1", ...: the first that no device has as its name or alias.
  std::string UnusedName(const std::string& prefix) const;
  // In order of registration.
  std::vector<BlockDevice*> devices() const;

  void AddObserver(Observer& observer);
  void RemoveObserver(Observer& observer);

  void OnTimedOut(const std::string& name);
  Reactors& reactors() { return reactors_; }
  IoTraces& traces() { return traces_; }

 private:
  BlockDevice* FindAny(std::string_view name) const;
  Task<Status> MakeChannels(BlockDevice& device);
  Task<void> DestroyChannels(BlockDevice& device);
  Task<void> ForChannels(BlockDevice& device, std::function<void(BlockChannel&)> step);
  Task<void> LetUsersGo(BlockDevice& device);
  std::unique_ptr<BlockDevice> Forget(BlockDevice& device);

  Reactors& reactors_;
  IoTraces traces_;
  uint32_t next_number_ = 1;
  std::vector<std::unique_ptr<BlockDevice>> devices_;  // Also those on their way in or out.
  std::map<std::string, BlockDevice*, std::less<>> by_name_;
  std::vector<Observer*> observers_;
};

}  // namespace pollux
