#pragma once
#include <map>
#include <set>
#include <string>

#include "core/task.h"
#include "drivers/ioat_accel/ioat_devices.h"
#include "pollux/v1/ioat.pb.h"
#include "rpc/dispatcher.h"
#include "service/configuration.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/ioat.proto: I/OAT devices that come and go.
//
// An attach that was called waits for the device without the turn. One that is tried again because
// it was pending runs beside the replay, which goes on without it.
class IoatHandlers final : public IoatDevices::Observer {
 public:
  explicit IoatHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);
  // Says which addresses mean the same.
  void SpellNames(Configuration& configuration);
  // What ioat_scan_accel_module asked for: attaches what is there and nobody has attached. Returns
  // when each of them is attached or has failed.
  Task<void> AttachFound();

 private:
  Task<Result<v1::IoatScanAccelModuleResponse>> Scan(v1::IoatScanAccelModuleRequest request);
  Task<Result<v1::IoatAttachDeviceResponse>> Attach(v1::IoatAttachDeviceRequest request,
                                                    rpc::Caller caller);
  Task<Result<v1::IoatDetachDeviceResponse>> Detach(v1::IoatDetachDeviceRequest request,
                                                    rpc::Caller caller);
  Task<Result<v1::IoatGetDevicesResponse>> GetDevices(v1::IoatGetDevicesRequest request);

  bool IsAttached(const std::string& address) const;
  // Attaches a pending device and takes it off the pending list, or says why it stays there.
  Task<void> AttachPending(std::string address);
  Status BeginAttachPending(const std::string& address);
  Task<void> AttachOneFound(std::string address);
  // It is pending from now on, and its saved call attaches it when it is there again.
  void OnDeviceGone(const std::string& address, const Status& why) override;

  Appliance& appliance_;
  bool scan_ = false;
  std::set<std::string> attaching_;              // Pending ones, beside the replay.
  std::set<std::string> detaching_;              // By call.
  std::map<std::string, Status> last_failures_;  // Of pending ones.
};

}  // namespace pollux::service
