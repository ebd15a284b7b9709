#include "service/stacked_handlers.h"

#include <algorithm>
#include <utility>

#include "drivers/stacked/concat_disk.h"
#include "drivers/stacked/delay_disk.h"
#include "drivers/stacked/error_disk.h"
#include "drivers/stacked/passthru_disk.h"
#include "drivers/stacked/split_disk.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

constexpr size_t kRaidBasesMax = 255;

// What one disk makes of its one base.
using MadeDisk = Result<std::unique_ptr<StackedDisk>>;
using MadeDisks = Result<std::vector<std::unique_ptr<StackedDisk>>>;

MadeDisks Only(MadeDisk made) {
  RETURN_IF_ERROR(made.status());
  std::vector<std::unique_ptr<StackedDisk>> disks;
  disks.push_back(*std::move(made));
  return disks;
}

// A parameter that would be wrong whatever the base, and must not wait for it to be found so.
Status CheckNameAndUuid(const std::string& name, const std::string& uuid) {
  if (name.empty()) return InvalidField("name", name, "must not be empty");
  return Uuid::ParseOrRandom("uuid", uuid).status();
}

std::string Title(const char* kind, const std::string& name) {
  return absl::StrFormat("%s '%s'", kind, name);
}

std::string StackOfSplit(const std::string& base) { return "split of " + base; }

DelayLatencies LatenciesOf(const v1::BdevDelayCreateRequest& request) {
  return {.avg_read_latency = request.avg_read_latency(),
          .p99_read_latency = request.p99_read_latency(),
          .avg_write_latency = request.avg_write_latency(),
          .p99_write_latency = request.p99_write_latency()};
}

ErrorInjection InjectionOf(const v1::BdevErrorInjectErrorRequest& request) {
  using Io = ErrorInjection::Io;
  using Kind = ErrorInjection::Kind;
  ErrorInjection injection{.nvme_sct = request.nvme_sct(),
                           .nvme_sc = request.nvme_sc(),
                           .num = request.num(),
                           .queue_depth = request.queue_depth(),
                           .corrupt_offset = request.corrupt_offset(),
                           .corrupt_value = request.corrupt_value()};
  switch (request.io_type()) {
    case v1::ERROR_IO_TYPE_READ:
      injection.io = Io::kRead;
      break;
    case v1::ERROR_IO_TYPE_WRITE:
      injection.io = Io::kWrite;
      break;
    case v1::ERROR_IO_TYPE_UNMAP:
      injection.io = Io::kUnmap;
      break;
    case v1::ERROR_IO_TYPE_FLUSH:
      injection.io = Io::kFlush;
      break;
    case v1::ERROR_IO_TYPE_ALL:
      injection.io = Io::kAll;
      break;
    default:
      injection.io = Io::kClear;
  }
  switch (request.error_type()) {
    case v1::ERROR_TYPE_PENDING:
      injection.kind = Kind::kPending;
      break;
    case v1::ERROR_TYPE_CORRUPT_DATA:
      injection.kind = Kind::kCorruptData;
      break;
    case v1::ERROR_TYPE_NOMEM:
      injection.kind = Kind::kNomem;
      break;
    case v1::ERROR_TYPE_NVME_FAILURE:
      injection.kind = Kind::kNvmeFailure;
      break;
    default:
      injection.kind = Kind::kFailure;
  }
  return injection;
}

void DescribeOnline(const ConcatDisk& disk, v1::RaidBdev& info) {
  const std::vector<ConcatMember> members = disk.members();
  const auto count = static_cast<uint32_t>(members.size());
  info.set_name(disk.name());
  info.set_uuid(disk.uuid().ToString());
  info.set_strip_size_kb(disk.strip_size_kb());
  info.set_state("online");
  info.set_raid_level("concat");
  info.set_num_base_bdevs(count);
  info.set_num_base_bdevs_discovered(count);
  info.set_num_base_bdevs_operational(count);
  for (const ConcatMember& member : members) {
    v1::RaidBaseBdev& base = *info.add_base_bdevs_list();
    base.set_name(member.name);
    base.set_uuid(member.uuid);
    base.set_is_configured(true);
    base.set_data_size(member.data_blocks);
  }
}

void DescribeWaiting(const v1::BdevRaidCreateRequest& request, const DeviceRegistry& devices,
                     v1::RaidBdev& info) {
  const std::string nobody = Uuid{}.ToString();
  uint32_t discovered = 0;
  for (const std::string& name : request.base_bdevs()) {
    const Result<BlockDevice*> device = devices.Find(name);
    if (device.ok()) ++discovered;
    v1::RaidBaseBdev& base = *info.add_base_bdevs_list();
    base.set_name(name);
    base.set_uuid(device.ok() ? (*device)->uuid().ToString() : nobody);
    base.set_is_configured(device.ok());
    base.set_data_size(device.ok() ? (*device)->geometry().blocks : 0);
  }
  info.set_name(request.name());
  info.set_uuid(request.uuid().empty() ? nobody : request.uuid());
  info.set_strip_size_kb(request.strip_size_kb());
  info.set_state("configuring");
  info.set_raid_level("concat");
  info.set_num_base_bdevs(static_cast<uint32_t>(request.base_bdevs_size()));
  info.set_num_base_bdevs_discovered(discovered);
  info.set_num_base_bdevs_operational(discovered);
}

}  // namespace

void StackedHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_passthru_create", this, &StackedHandlers::PassthruCreate);
  dispatcher.Bind("bdev_passthru_delete", this, &StackedHandlers::PassthruDelete);
  dispatcher.Bind("bdev_delay_create", this, &StackedHandlers::DelayCreate);
  dispatcher.Bind("bdev_delay_update_latency", this, &StackedHandlers::DelayUpdateLatency);
  dispatcher.Bind("bdev_delay_delete", this, &StackedHandlers::DelayDelete);
  dispatcher.Bind("bdev_error_create", this, &StackedHandlers::ErrorCreate);
  dispatcher.Bind("bdev_error_inject_error", this, &StackedHandlers::ErrorInject);
  dispatcher.Bind("bdev_error_resume_pending", this, &StackedHandlers::ErrorResume);
  dispatcher.Bind("bdev_error_delete", this, &StackedHandlers::ErrorDelete);
  dispatcher.Bind("bdev_split_create", this, &StackedHandlers::SplitCreate);
  dispatcher.Bind("bdev_split_delete", this, &StackedHandlers::SplitDelete);
  dispatcher.Bind("bdev_raid_create", this, &StackedHandlers::RaidCreate);
  dispatcher.Bind("bdev_raid_delete", this, &StackedHandlers::RaidDelete);
  dispatcher.Bind("bdev_raid_get_bdevs", this, &StackedHandlers::RaidGetBdevs);
}

// --- What they have in common.

Task<Status> StackedHandlers::Create(Origin origin, StackedDisks::Stack stack) {
  const ObjectId id = origin.id;
  if (!origin.replay) {
    deferred_.erase(id);  // What a caller asks for now need not be examined.
  } else if (deferred_.contains(id) && !MayExamine(stack.bases)) {
    co_return Unavailable("waits until %s is examined: see bdev_examine",
                          stack.bases.empty() ? "its base" : stack.bases.front());
  }
  stack.on_base_gone = [this, id](const Status& why) { Defer(id, why); };
  const Status status = co_await appliance_.stacked().Create(std::move(stack));
  if (!status.ok() && ErrnoOf(status) == ENODEV) {
    deferred_.insert(id);
    if (origin.replay) co_return status;
    appliance_.configuration().Put(id, {origin.call});
    Defer(id, status);
    co_return OkStatus();
  }
  CO_RETURN_IF_ERROR(status);
  deferred_.erase(id);
  appliance_.configuration().Put(id, {origin.call});
  co_return OkStatus();
}

Task<Status> StackedHandlers::Delete(std::string name, std::string product) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().FindKind(name, product));
  const std::string own_name = device->name();
  CO_RETURN_IF_ERROR(co_await appliance_.stacked().Delete(own_name));
  appliance_.configuration().Erase({"bdev", own_name});
  co_return OkStatus();
}

Status StackedHandlers::CheckUnused(const std::string& name) const {
  if (!appliance_.devices().Find(name).ok()) return OkStatus();
  return ErrorOfField(EEXIST, "name", name, "a block device has this name already");
}

void StackedHandlers::Defer(const ObjectId& id, const Status& why) {
  if (appliance_.stopping()) return;
  deferred_.insert(id);
  appliance_.configuration().ParkAll(id, why);
}

bool StackedHandlers::MayExamine(const std::vector<std::string>& bases) const {
  if (appliance_.bdev_options().bdev_auto_examine) return true;
  return std::all_of(bases.begin(), bases.end(), [this](const std::string& base) {
    return !appliance_.configuration().CallsOf({"bdev_examine", base}).empty();
  });
}

std::string StackedHandlers::NameOf(const std::string& name_or_alias) const {
  const Result<BlockDevice*> device = appliance_.devices().Find(name_or_alias);
  return device.ok() ? (*device)->name() : name_or_alias;
}

void StackedHandlers::OnRegistered(BlockDevice&) {
  if (!deferred_.empty()) appliance_.RetryPendingSoon();
}

// --- Pass-through.

Task<Result<v1::BdevPassthruCreateResponse>> StackedHandlers::PassthruCreate(
    v1::BdevPassthruCreateRequest request, rpc::Caller caller) {
  const std::string name = request.name();
  CO_RETURN_IF_ERROR(CheckNameAndUuid(name, request.uuid()));
  CO_RETURN_IF_ERROR(CheckUnused(name));
  const PassthruOptions options{.name = name, .uuid = request.uuid()};
  Origin origin{.id = {"bdev", name},
                .call = {"bdev_passthru_create", rpc::EncodeMessage(request)},
                .replay = caller.replay};
  StackedDisks::Stack stack{.name = name,
                            .title = Title("passthru", name),
                            .bases = {request.base_bdev_name()},
                            .make = [options](const std::vector<BlockDevice*>& bases) -> MadeDisks {
                              return Only(MakePassthruDisk(options, *bases.front()));
                            }};
  CO_RETURN_IF_ERROR(co_await Create(std::move(origin), std::move(stack)));
  co_return Named<v1::BdevPassthruCreateResponse>(name);
}

Task<Result<v1::BdevPassthruDeleteResponse>> StackedHandlers::PassthruDelete(
    v1::BdevPassthruDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kPassthruProduct));
  co_return Done<v1::BdevPassthruDeleteResponse>();
}

// --- Delay.

Task<Result<v1::BdevDelayCreateResponse>> StackedHandlers::DelayCreate(
    v1::BdevDelayCreateRequest request, rpc::Caller caller) {
  const std::string name = request.name();
  CO_RETURN_IF_ERROR(CheckNameAndUuid(name, request.uuid()));
  CO_RETURN_IF_ERROR(CheckUnused(name));
  const DelayOptions options{
      .name = name, .uuid = request.uuid(), .latencies = LatenciesOf(request)};
  CO_RETURN_IF_ERROR(CheckLatencies(options.latencies));
  Origin origin{.id = {"bdev", name},
                .call = {"bdev_delay_create", rpc::EncodeMessage(request)},
                .replay = caller.replay};
  StackedDisks::Stack stack{.name = name,
                            .title = Title("delay disk", name),
                            .bases = {request.base_bdev_name()},
                            .make = [options](const std::vector<BlockDevice*>& bases) -> MadeDisks {
                              return Only(MakeDelayDisk(options, *bases.front()));
                            }};
  CO_RETURN_IF_ERROR(co_await Create(std::move(origin), std::move(stack)));
  co_return Named<v1::BdevDelayCreateResponse>(name);
}

Task<Result<v1::BdevDelayUpdateLatencyResponse>> StackedHandlers::DelayUpdateLatency(
    v1::BdevDelayUpdateLatencyRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device,
                      appliance_.devices().FindKind(request.delay_bdev_name(), kDelayProduct));
  // What rebuilds it is the call that made it, with the new latency.
  const ObjectId id{"bdev", device->name()};
  std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  CHECK(!calls.empty(), "a delay disk without a call");
  v1::BdevDelayCreateRequest create;
  CO_RETURN_IF_ERROR(rpc::DecodeParams(calls.front().params, /*relaxed=*/true, create));
  const uint64_t us = request.latency_us();
  switch (request.latency_type()) {
    case v1::DELAY_LATENCY_AVG_READ:
      create.set_avg_read_latency(us);
      break;
    case v1::DELAY_LATENCY_P99_READ:
      create.set_p99_read_latency(us);
      break;
    case v1::DELAY_LATENCY_AVG_WRITE:
      create.set_avg_write_latency(us);
      break;
    default:
      create.set_p99_write_latency(us);
  }
  CO_RETURN_IF_ERROR(UpdateDelays(appliance_.devices(), device->name(), LatenciesOf(create)));
  calls.front().params = rpc::EncodeMessage(create);
  appliance_.configuration().Put(id, std::move(calls));
  co_return Done<v1::BdevDelayUpdateLatencyResponse>();
}

Task<Result<v1::BdevDelayDeleteResponse>> StackedHandlers::DelayDelete(
    v1::BdevDelayDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kDelayProduct));
  co_return Done<v1::BdevDelayDeleteResponse>();
}

// --- Error.

Task<Result<v1::BdevErrorCreateResponse>> StackedHandlers::ErrorCreate(
    v1::BdevErrorCreateRequest request, rpc::Caller caller) {
  if (request.base_name().empty()) {
    co_return InvalidField("base_name", request.base_name(), "must not be empty");
  }
  request.set_base_name(NameOf(request.base_name()));
  const std::string name = ErrorDiskName(request.base_name());
  const ObjectId id{"bdev", name};
  CO_RETURN_IF_ERROR(CheckNameAndUuid(name, request.uuid()));
  CO_RETURN_IF_ERROR(CheckUnused(name));
  // No parameter has its name, or this would have been found before.
  if (!caller.replay && appliance_.configuration().IsPending(id)) {
    co_return ErrorOfField(EEXIST, "base_name", request.base_name(),
                           absl::StrFormat("'%s' is configured already and pending; delete it "
                                           "first",
                                           name));
  }
  Origin origin{.id = id,
                .call = {"bdev_error_create", rpc::EncodeMessage(request)},
                .replay = caller.replay};
  StackedDisks::Stack stack{
      .name = name,
      .title = Title("error disk", name),
      .bases = {request.base_name()},
      .field = "base_name",
      .make = [uuid = request.uuid()](const std::vector<BlockDevice*>& bases) -> MadeDisks {
        return Only(MakeErrorDisk(uuid, *bases.front()));
      }};
  CO_RETURN_IF_ERROR(co_await Create(std::move(origin), std::move(stack)));
  co_return Done<v1::BdevErrorCreateResponse>();
}

Task<Result<v1::BdevErrorInjectErrorResponse>> StackedHandlers::ErrorInject(
    v1::BdevErrorInjectErrorRequest request) {
  const ErrorInjection injection = InjectionOf(request);
  CO_RETURN_IF_ERROR(co_await InjectErrors(appliance_.devices(), request.name(), injection));
  co_return Done<v1::BdevErrorInjectErrorResponse>();
}

Task<Result<v1::BdevErrorResumePendingResponse>> StackedHandlers::ErrorResume(
    v1::BdevErrorResumePendingRequest request) {
  CO_RETURN_IF_ERROR(co_await ResumePending(appliance_.devices(), request.name()));
  co_return Done<v1::BdevErrorResumePendingResponse>();
}

Task<Result<v1::BdevErrorDeleteResponse>> StackedHandlers::ErrorDelete(
    v1::BdevErrorDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kErrorProduct));
  co_return Done<v1::BdevErrorDeleteResponse>();
}

// --- Split.

Task<Result<v1::BdevSplitCreateResponse>> StackedHandlers::SplitCreate(
    v1::BdevSplitCreateRequest request, rpc::Caller caller) {
  if (request.base_bdev().empty()) {
    co_return InvalidField("base_bdev", request.base_bdev(), "must not be empty");
  }
  request.set_base_bdev(NameOf(request.base_bdev()));
  const std::string base = request.base_bdev();
  const SplitOptions options{.split_count = request.split_count(),
                             .split_size_mb = request.split_size_mb()};
  CO_RETURN_IF_ERROR(CheckSplit(options));
  Origin origin{.id = {"bdev_split", base},
                .call = {"bdev_split_create", rpc::EncodeMessage(request)},
                .replay = caller.replay};
  StackedDisks::Stack stack{.name = StackOfSplit(base),
                            .title = StackOfSplit(base),
                            .bases = {base},
                            .field = "base_bdev",
                            .make = [options](const std::vector<BlockDevice*>& bases) -> MadeDisks {
                              return MakeSplitDisks(options, *bases.front());
                            }};
  CO_RETURN_IF_ERROR(co_await Create(std::move(origin), std::move(stack)));
  v1::BdevSplitCreateResponse response;
  for (const std::string& name : appliance_.stacked().DisksOf(StackOfSplit(base))) {
    response.add_names(name);
  }
  co_return response;
}

Task<Result<v1::BdevSplitDeleteResponse>> StackedHandlers::SplitDelete(
    v1::BdevSplitDeleteRequest request) {
  const std::string base = NameOf(request.base_bdev());
  if (!appliance_.stacked().Contains(StackOfSplit(base))) {
    co_return ErrorOfField(ENODEV, "base_bdev", request.base_bdev(), "is not split");
  }
  const std::vector<std::string> parts = appliance_.stacked().DisksOf(StackOfSplit(base));
  CO_RETURN_IF_ERROR(co_await appliance_.stacked().Delete(StackOfSplit(base)));
  appliance_.configuration().Erase({"bdev_split", base});
  // And what is said of the parts.
  for (const std::string& part : parts) appliance_.configuration().Erase({"bdev", part});
  co_return Done<v1::BdevSplitDeleteResponse>();
}

// --- RAID.

Task<Result<v1::BdevRaidCreateResponse>> StackedHandlers::RaidCreate(
    v1::BdevRaidCreateRequest request, rpc::Caller caller) {
  const std::string name = request.name();
  if (request.raid_level() != "concat") {
    co_return ErrorOfField(ENOTSUP, "raid_level", request.raid_level(),
                           "this version has only concat");
  }
  if (request.superblock()) {
    co_return ErrorOfField(ENOTSUP, "superblock", "true", "this version has no superblock");
  }
  const ConcatOptions options{
      .name = name, .uuid = request.uuid(), .strip_size_kb = request.strip_size_kb()};
  CO_RETURN_IF_ERROR(CheckNameAndUuid(name, request.uuid()));
  CO_RETURN_IF_ERROR(CheckConcat(options));
  CO_RETURN_IF_ERROR(CheckUnused(name));
  const std::vector<std::string> bases(request.base_bdevs().begin(), request.base_bdevs().end());
  if (bases.empty() || bases.size() > kRaidBasesMax) {
    co_return InvalidField("base_bdevs", bases.size(), "must be from 1 to %u disks", kRaidBasesMax);
  }
  const std::set<std::string> different(bases.begin(), bases.end());
  if (different.size() < bases.size()) {
    co_return InvalidField("base_bdevs", bases.size(), "a disk is named twice");
  }
  Origin origin{.id = {"bdev", name},
                .call = {"bdev_raid_create", rpc::EncodeMessage(request)},
                .replay = caller.replay};
  StackedDisks::Stack stack{.name = name,
                            .title = Title("RAID", name),
                            .bases = bases,
                            .field = "base_bdevs",
                            .make = [options](const std::vector<BlockDevice*>& found) -> MadeDisks {
                              return Only(MakeConcatDisk(options, found));
                            }};
  CO_RETURN_IF_ERROR(co_await Create(std::move(origin), std::move(stack)));
  co_return Done<v1::BdevRaidCreateResponse>();
}

Task<Result<v1::BdevRaidDeleteResponse>> StackedHandlers::RaidDelete(
    v1::BdevRaidDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kRaidProduct));
  co_return Done<v1::BdevRaidDeleteResponse>();
}

Task<Result<v1::BdevRaidGetBdevsResponse>> StackedHandlers::RaidGetBdevs(
    v1::BdevRaidGetBdevsRequest request) {
  const v1::RaidCategory wanted = request.category();
  v1::BdevRaidGetBdevsResponse response;
  if (wanted == v1::RAID_CATEGORY_ALL || wanted == v1::RAID_CATEGORY_ONLINE) {
    for (const BlockDevice* device : appliance_.devices().devices()) {
      if (device->product_name() != kRaidProduct) continue;
      DescribeOnline(static_cast<const ConcatDisk&>(*device), *response.add_bdevs());
    }
  }
  if (wanted == v1::RAID_CATEGORY_ALL || wanted == v1::RAID_CATEGORY_CONFIGURING) {
    for (const PendingCalls& pending : appliance_.configuration().pending()) {
      if (pending.calls.front().method != "bdev_raid_create") continue;
      v1::BdevRaidCreateRequest create;
      CO_RETURN_IF_ERROR(rpc::DecodeParams(pending.calls.front().params, /*relaxed=*/true, create));
      DescribeWaiting(create, appliance_.devices(), *response.add_bdevs());
    }
  }
  co_return response;
}

}  // namespace pollux::service
