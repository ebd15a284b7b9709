#include "service/bdev_qos_handlers.h"

#include <utility>

#include "core/log.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

constexpr uint64_t kBytesPerMib = 1 << 20;
// What rpc.py sends for a limit that is to stay as it is.
constexpr uint64_t kStays = UINT64_MAX;

Status TakeIos(bool given, uint64_t value, uint64_t& limit) {
  if (given && value != kStays) limit = value;
  return OkStatus();
}

Status TakeMib(const char* field, bool given, uint64_t value, uint64_t& limit_bytes) {
  if (!given || value == kStays) return OkStatus();
  if (value > UINT64_MAX / kBytesPerMib) {
    return InvalidField(field, value, "at most %u MiB/s", UINT64_MAX / kBytesPerMib);
  }
  limit_bytes = value * kBytesPerMib;
  return OkStatus();
}

bool SaysAnything(const v1::BdevSetQosLimitRequest& request) {
  const auto says = [](bool given, uint64_t value) { return given && value != kStays; };
  return says(request.has_rw_ios_per_sec(), request.rw_ios_per_sec()) ||
         says(request.has_rw_mbytes_per_sec(), request.rw_mbytes_per_sec()) ||
         says(request.has_r_mbytes_per_sec(), request.r_mbytes_per_sec()) ||
         says(request.has_w_mbytes_per_sec(), request.w_mbytes_per_sec());
}

// What there was, with what the request says.
Result<RateLimits> Changed(RateLimits limits, const v1::BdevSetQosLimitRequest& request) {
  RETURN_IF_ERROR(TakeIos(request.has_rw_ios_per_sec(), request.rw_ios_per_sec(), limits.rw_ios));
  RETURN_IF_ERROR(TakeMib("rw_mbytes_per_sec", request.has_rw_mbytes_per_sec(),
                          request.rw_mbytes_per_sec(), limits.rw_bytes));
  RETURN_IF_ERROR(TakeMib("r_mbytes_per_sec", request.has_r_mbytes_per_sec(),
                          request.r_mbytes_per_sec(), limits.r_bytes));
  RETURN_IF_ERROR(TakeMib("w_mbytes_per_sec", request.has_w_mbytes_per_sec(),
                          request.w_mbytes_per_sec(), limits.w_bytes));
  return limits;
}

// The call that brings about these limits, whatever there were before.
v1::BdevSetQosLimitRequest CallFor(const std::string& name, const RateLimits& limits) {
  v1::BdevSetQosLimitRequest call;
  call.set_name(name);
  call.set_rw_ios_per_sec(limits.rw_ios);
  call.set_rw_mbytes_per_sec(limits.rw_bytes / kBytesPerMib);
  call.set_r_mbytes_per_sec(limits.r_bytes / kBytesPerMib);
  call.set_w_mbytes_per_sec(limits.w_bytes / kBytesPerMib);
  return call;
}

}  // namespace

void BdevQosHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_set_qos_limit", this, &BdevQosHandlers::SetQosLimit);
}

Task<Result<v1::BdevSetQosLimitResponse>> BdevQosHandlers::SetQosLimit(
    v1::BdevSetQosLimitRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(request.name()));
  if (!SaysAnything(request)) {
    co_return InvalidField("rw_ios_per_sec", "", "at least one limit must be given");
  }
  ASSIGN_OR_CO_RETURN(const RateLimits limits, Changed(device->rate_limits(), request));
  const std::string name = device->name();
  CO_RETURN_IF_ERROR(co_await appliance_.devices().SetRateLimits(*device, limits));
  if (limits.any()) {
    appliance_.configuration().Put(
        {kKind, name}, {{"bdev_set_qos_limit", rpc::EncodeMessage(CallFor(name, limits))}});
  } else {
    appliance_.configuration().Erase({kKind, name});
  }
  co_return Done<v1::BdevSetQosLimitResponse>();
}

void BdevQosHandlers::OnRegistered(BlockDevice& device) {
  if (appliance_.configuration().CallsOf({kKind, device.name()}).empty()) return;
  appliance_.Spawn(Restore(device.name()));
}

Task<void> BdevQosHandlers::Restore(std::string name) {
  const Result<BlockDevice*> device = appliance_.devices().Find(name);
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf({kKind, name});
  if (!device.ok() || calls.empty()) co_return;
  v1::BdevSetQosLimitRequest request;
  Status status = rpc::DecodeParams(calls.front().params, /*relaxed=*/true, request);
  if (status.ok()) {
    const Result<RateLimits> limits = Changed({}, request);
    status = limits.status();
    if (status.ok()) status = co_await appliance_.devices().SetRateLimits(**device, *limits);
  }
  if (!status.ok()) {
    LogWarning("service", "the limits of '%s' could not be restored: %s", name, status.message());
  }
}

}  // namespace pollux::service
