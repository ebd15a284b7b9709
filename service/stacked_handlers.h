#pragma once
#include <set>
#include <string>

#include "core/block/device_registry.h"
#include "core/task.h"
#include "drivers/stacked/stacked_disks.h"
#include "pollux/v1/bdev_delay.pb.h"
#include "pollux/v1/bdev_error.pb.h"
#include "pollux/v1/bdev_passthru.pb.h"
#include "pollux/v1/bdev_raid.pb.h"
#include "pollux/v1/bdev_split.pb.h"
#include "rpc/dispatcher.h"
#include "service/configuration.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev_passthru.proto, bdev_delay.proto, bdev_error.proto, bdev_split.proto,
// bdev_raid.proto: disks that lie on others. A call whose base is not there, or no longer, is
// pending, and is made when the base has come: at once, or with bdev_auto_examine off when the base
// is examined.
class StackedHandlers final : public DeviceRegistry::Observer {
 public:
  explicit StackedHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  // What rebuilds a stack: one call of one object.
  struct Origin {
    ObjectId id;
    rpc::SavedCall call;
    bool replay;
  };

  Task<Result<v1::BdevPassthruCreateResponse>> PassthruCreate(v1::BdevPassthruCreateRequest request,
                                                              rpc::Caller caller);
  Task<Result<v1::BdevPassthruDeleteResponse>> PassthruDelete(
      v1::BdevPassthruDeleteRequest request);
  Task<Result<v1::BdevDelayCreateResponse>> DelayCreate(v1::BdevDelayCreateRequest request,
                                                        rpc::Caller caller);
  Task<Result<v1::BdevDelayUpdateLatencyResponse>> DelayUpdateLatency(
      v1::BdevDelayUpdateLatencyRequest request);
  Task<Result<v1::BdevDelayDeleteResponse>> DelayDelete(v1::BdevDelayDeleteRequest request);
  Task<Result<v1::BdevErrorCreateResponse>> ErrorCreate(v1::BdevErrorCreateRequest request,
                                                        rpc::Caller caller);
  Task<Result<v1::BdevErrorInjectErrorResponse>> ErrorInject(
      v1::BdevErrorInjectErrorRequest request);
  Task<Result<v1::BdevErrorResumePendingResponse>> ErrorResume(
      v1::BdevErrorResumePendingRequest request);
  Task<Result<v1::BdevErrorDeleteResponse>> ErrorDelete(v1::BdevErrorDeleteRequest request);
  Task<Result<v1::BdevSplitCreateResponse>> SplitCreate(v1::BdevSplitCreateRequest request,
                                                        rpc::Caller caller);
  Task<Result<v1::BdevSplitDeleteResponse>> SplitDelete(v1::BdevSplitDeleteRequest request);
  Task<Result<v1::BdevRaidCreateResponse>> RaidCreate(v1::BdevRaidCreateRequest request,
                                                      rpc::Caller caller);
  Task<Result<v1::BdevRaidDeleteResponse>> RaidDelete(v1::BdevRaidDeleteRequest request);
  Task<Result<v1::BdevRaidGetBdevsResponse>> RaidGetBdevs(v1::BdevRaidGetBdevsRequest request);

  // Makes a stack and keeps its call; where a base is missing, keeps the call alone.
  Task<Status> Create(Origin origin, StackedDisks::Stack stack);
  // Deletes the stack of a single disk of that product, and its call. ENODEV when there is none.
  Task<Status> Delete(std::string name, std::string product);
  // EEXIST when a device has this name.
  Status CheckUnused(const std::string& name) const;
  // The object is pending until its base is there.
  void Defer(const ObjectId& id, const Status& why);
  bool MayExamine(const std::vector<std::string>& bases) const;
  // The name of that device; what was given, when there is none.
  std::string NameOf(const std::string& name_or_alias) const;

  void OnRegistered(BlockDevice&) override;
  void OnUnregistered(const std::string&) override {}
  void OnResized(BlockDevice&) override {}

  Appliance& appliance_;
  std::set<ObjectId> deferred_;  // Those that wait, or have waited, for a base.
};

}  // namespace pollux::service
