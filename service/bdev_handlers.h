#pragma once
#include <memory>

#include "core/block/queue_depths.h"
#include "core/event.h"
#include "core/task.h"
#include "pollux/v1/bdev.pb.h"
#include "rpc/dispatcher.h"
#include "service/bdev_statistics.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev.proto: what holds for block devices of every kind.
class BdevHandlers final : public DeviceRegistry::Observer {
 public:
  explicit BdevHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);
  // Ends the calls that wait for a device: the appliance stops.
  void EndWaits();
  BdevStatistics& statistics() { return statistics_; }
  // From when there are devices.
  void Observe(DeviceRegistry& devices);
  void StopObserving(DeviceRegistry& devices);
  QueueDepths& queue_depths() { return *queue_depths_; }

 private:
  Task<Result<v1::BdevGetBdevsResponse>> GetBdevs(v1::BdevGetBdevsRequest request);
  Task<Result<v1::BdevGetIostatResponse>> GetIostat(v1::BdevGetIostatRequest request);
  Task<Result<v1::BdevResetIostatResponse>> ResetIostat(v1::BdevResetIostatRequest request);
  Task<Result<v1::BdevSetOptionsResponse>> SetOptions(v1::BdevSetOptionsRequest request);
  Task<Result<v1::BdevExamineResponse>> Examine(v1::BdevExamineRequest request, rpc::Caller caller);
  Task<Result<v1::BdevWaitForExamineResponse>> WaitForExamine(
      v1::BdevWaitForExamineRequest request);

  // Waits until the device is there, for at most `timeout_ms`; ENODEV then.
  Task<Result<BlockDevice*>> WaitFor(std::string name, uint64_t timeout_ms);

  void OnRegistered(BlockDevice&) override { registered_.Pulse(); }
  void OnUnregistered(const std::string&) override {}
  void OnResized(BlockDevice&) override {}

  Appliance& appliance_;
  BdevStatistics statistics_;
  std::unique_ptr<QueueDepths> queue_depths_;
  Event registered_;
};

}  // namespace pollux::service
