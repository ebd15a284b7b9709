#pragma once
#include <string>

#include "core/block/device_registry.h"
#include "core/block/queue_depths.h"
#include "core/task.h"
#include "pollux/v1/bdev.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;
class BdevHandlers;
class Configuration;

// proto/pollux/v1/bdev.proto: what is watched of block devices beyond their counters. Histograms,
// the sampling of queue depths and timeouts belong to the device's name: a device that comes back
// under it gets them again. The trace is not saved.
class BdevWatchHandlers final : public DeviceRegistry::Observer {
 public:
  BdevWatchHandlers(Appliance& appliance, BdevHandlers& bdev)
      : appliance_(appliance), bdev_(bdev) {}
  void Bind(rpc::Dispatcher& dispatcher);
  // Which objects of the configuration go with a device.
  void DescribeKinds(Configuration& configuration) const;

 private:
  Task<Result<v1::BdevEnableHistogramResponse>> EnableHistogram(
      v1::BdevEnableHistogramRequest request);
  Task<Result<v1::BdevGetHistogramResponse>> GetHistogram(v1::BdevGetHistogramRequest request);
  Task<Result<v1::BdevGetHistogramBordersResponse>> GetHistogramBorders(
      v1::BdevGetHistogramBordersRequest request);
  Task<Result<v1::BdevSetQdSamplingPeriodResponse>> SetQdSamplingPeriod(
      v1::BdevSetQdSamplingPeriodRequest request);
  Task<Result<v1::BdevSetTimeoutResponse>> SetTimeout(v1::BdevSetTimeoutRequest request);
  Task<Result<v1::BdevSetIoTraceResponse>> SetIoTrace(v1::BdevSetIoTraceRequest request);
  Task<Result<v1::BdevGetIoTraceResponse>> GetIoTrace(v1::BdevGetIoTraceRequest request);

  // Saves the call as the device's, or forgets what was saved.
  void Save(const char* kind, const std::string& name, const char* method,
            const rpc::Message& request);
  void Forget(const char* kind, const std::string& name);
  // Makes the saved calls of a device that has come.
  Task<void> Restore(std::string name);

  void OnRegistered(BlockDevice& device) override;
  void OnUnregistered(const std::string&) override {}
  void OnResized(BlockDevice&) override {}

  Appliance& appliance_;
  BdevHandlers& bdev_;
};

}  // namespace pollux::service
