#include "service/bdev_handlers.h"

#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/threads.h"

namespace pollux::service {
namespace {

constexpr int kNamesMax = 1024;

void Describe(BlockDevice& device, v1::BdevInfo& info) {
  const Geometry& geometry = device.geometry();
  const Limits& limits = device.limits();
  info.set_name(device.name());
  for (const std::string& alias : device.aliases()) info.add_aliases(alias);
  info.set_product_name(device.product_name());
  info.set_block_size(geometry.block_bytes +
                      (geometry.metadata_interleaved ? geometry.metadata_bytes : 0));
  info.set_num_blocks(geometry.blocks);
  info.set_preferred_write_alignment(limits.preferred_write_alignment_blocks);
  info.set_preferred_write_granularity(limits.preferred_write_granularity_blocks);
  info.set_optimal_write_size(limits.optimal_write_blocks);
  info.set_preferred_unmap_alignment(limits.preferred_unmap_alignment_blocks);
  info.set_preferred_unmap_granularity(limits.preferred_unmap_granularity_blocks);
  info.set_uuid(device.uuid().ToString());
  if (device.numa_node() >= 0) info.set_numa_id(device.numa_node());
  if (geometry.metadata_bytes > 0) {
    info.set_md_size(geometry.metadata_bytes);
    info.set_md_interleave(geometry.metadata_interleaved);
    info.set_dif_type(geometry.protection_type);
    if (geometry.protection_type != 0) {
      info.set_dif_is_head_of_md(geometry.protection_first);
      info.mutable_enabled_dif_check_types()->set_reftag(geometry.checks_reference_tag);
      info.mutable_enabled_dif_check_types()->set_guard(geometry.checks_guard);
      info.set_dif_pi_format(0);
    }
  }
  constexpr uint64_t kBytesPerMib = 1 << 20;
  v1::RateLimits& limited = *info.mutable_assigned_rate_limits();
  limited.set_rw_ios_per_sec(device.rate_limits().rw_ios);
  limited.set_rw_mbytes_per_sec(device.rate_limits().rw_bytes / kBytesPerMib);
  limited.set_r_mbytes_per_sec(device.rate_limits().r_bytes / kBytesPerMib);
  limited.set_w_mbytes_per_sec(device.rate_limits().w_bytes / kBytesPerMib);
  info.set_claimed(device.claim() != ClaimType::kNone);
  if (device.claim() != ClaimType::kNone) info.set_claim_type(ClaimTypeName(device.claim()));
  info.set_zoned(false);

  v1::SupportedIoTypes& types = *info.mutable_supported_io_types();
  types.set_read(device.Supports(IoType::kRead));
  types.set_write(device.Supports(IoType::kWrite));
  types.set_unmap(device.Supports(IoType::kUnmap));
  types.set_flush(device.Supports(IoType::kFlush));
  types.set_reset(device.Supports(IoType::kReset));
  types.set_write_zeroes(device.Supports(IoType::kWriteZeroes));
  types.set_compare(device.Supports(IoType::kCompare));
  types.set_compare_and_write(device.Supports(IoType::kCompareAndWrite));
  types.set_abort(device.Supports(IoType::kAbort));
  info.set_driver_specific(device.DriverSpecificJson());
}

void Fill(const IoStatistics& statistics, v1::BdevIostat& answer) {
  answer.set_bytes_read(statistics.read.bytes);
  answer.set_num_read_ops(statistics.read.operations);
  answer.set_bytes_written(statistics.write.bytes);
  answer.set_num_write_ops(statistics.write.operations);
  answer.set_bytes_unmapped(statistics.unmap.bytes);
  answer.set_num_unmap_ops(statistics.unmap.operations);
  answer.set_read_latency_ticks(statistics.read.latency_ns);
  answer.set_max_read_latency_ticks(statistics.read.latency_max_ns);
  answer.set_min_read_latency_ticks(statistics.read.latency_min_ns);
  answer.set_write_latency_ticks(statistics.write.latency_ns);
  answer.set_max_write_latency_ticks(statistics.write.latency_max_ns);
  answer.set_min_write_latency_ticks(statistics.write.latency_min_ns);
  answer.set_unmap_latency_ticks(statistics.unmap.latency_ns);
  answer.set_max_unmap_latency_ticks(statistics.unmap.latency_max_ns);
  answer.set_min_unmap_latency_ticks(statistics.unmap.latency_min_ns);
  for (size_t i = 1; i < statistics.errors.size(); ++i) {
    if (statistics.errors[i] == 0) continue;
    (*answer.mutable_io_error())[IoStatusName(static_cast<IoStatus>(i))] =
        static_cast<uint32_t>(statistics.errors[i]);
  }
  if (statistics.timed_out > 0) answer.set_num_timed_out(statistics.timed_out);
}

void Fill(const QueueDepths::Sampled& sampled, v1::BdevIostat& answer) {
  answer.set_queue_depth_polling_period(sampled.period_us);
  answer.set_queue_depth(sampled.queue_depth);
  answer.set_io_time(sampled.io_time_us);
  answer.set_weighted_io_time(sampled.weighted_io_time_us);
}

BdevStatistics::Reset ResetOf(v1::IostatReset mode) {
  switch (mode) {
    case v1::IOSTAT_RESET_ALL:
      return BdevStatistics::Reset::kAll;
    case v1::IOSTAT_RESET_MAXMIN:
      return BdevStatistics::Reset::kExtremes;
    case v1::IOSTAT_RESET_ERROR:
      return BdevStatistics::Reset::kErrors;
    default:
      return BdevStatistics::Reset::kNone;
  }
}

}  // namespace

void BdevHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_get_bdevs", this, &BdevHandlers::GetBdevs);
  dispatcher.Bind("bdev_get_iostat", this, &BdevHandlers::GetIostat);
  dispatcher.Bind("bdev_reset_iostat", this, &BdevHandlers::ResetIostat);
  dispatcher.Bind("bdev_set_options", this, &BdevHandlers::SetOptions);
  dispatcher.Bind("bdev_examine", this, &BdevHandlers::Examine);
  dispatcher.Bind("bdev_wait_for_examine", this, &BdevHandlers::WaitForExamine);
}

void BdevHandlers::Observe(DeviceRegistry& devices) {
  queue_depths_ =
      std::make_unique<QueueDepths>(appliance_.control(), devices,
                                    [this](Task<void> task) { appliance_.Spawn(std::move(task)); });
  devices.AddObserver(*this);
  devices.AddObserver(statistics_);
  devices.AddObserver(*queue_depths_);
}

void BdevHandlers::StopObserving(DeviceRegistry& devices) {
  devices.RemoveObserver(*queue_depths_);
  devices.RemoveObserver(statistics_);
  devices.RemoveObserver(*this);
}

void BdevHandlers::EndWaits() {
  registered_.Pulse();
  if (queue_depths_ != nullptr) queue_depths_->Stop();
}

Task<Result<BlockDevice*>> BdevHandlers::WaitFor(std::string name, uint64_t timeout_ms) {
  // A timeout beyond all clocks is none.
  const uint64_t now = appliance_.clock().NowNs();
  const uint64_t deadline =
      timeout_ms > (Loop::kNever - now) / kNsPerMs ? Loop::kNever : now + timeout_ms * kNsPerMs;
  bool in_time = timeout_ms > 0;
  for (;;) {
    const Result<BlockDevice*> device = appliance_.devices().Find(name);
    if (device.ok() || !in_time || appliance_.stopping()) co_return device;
    in_time = co_await registered_.Until(deadline);
  }
}

Task<Result<v1::BdevGetBdevsResponse>> BdevHandlers::GetBdevs(v1::BdevGetBdevsRequest request) {
  v1::BdevGetBdevsResponse response;
  if (request.has_name()) {
    ASSIGN_OR_CO_RETURN(BlockDevice * device, co_await WaitFor(request.name(), request.timeout()));
    Describe(*device, *response.add_bdevs());
  } else {
    for (BlockDevice* device : appliance_.devices().devices()) {
      Describe(*device, *response.add_bdevs());
    }
  }
  co_return response;
}

Task<Result<v1::BdevGetIostatResponse>> BdevHandlers::GetIostat(v1::BdevGetIostatRequest request) {
  if (request.names_size() > kNamesMax) {
    co_return InvalidField("names", request.names_size(), "at most %d names", kNamesMax);
  }
  if (request.per_channel() && request.names_size() != 1) {
    co_return InvalidField("per_channel", "true", "needs exactly one name in 'names'");
  }
  std::vector<BlockDevice*> devices;
  for (const std::string& name : request.names()) {
    ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(name));
    devices.push_back(device);
  }
  if (request.names().empty()) devices = appliance_.devices().devices();

  const size_t reactors = appliance_.reactors().size();
  v1::BdevGetIostatResponse response;
  response.set_tick_rate(kNsPerSecond);
  response.set_ticks(appliance_.clock().NowNs());
  if (request.per_channel()) {
    response.set_name(devices[0]->name());
    const std::vector<IoStatistics> channels = statistics_.PerChannel(*devices[0], reactors);
    for (size_t i = 0; i < channels.size(); ++i) {
      v1::BdevIostat* answer = response.add_channels();
      answer->set_thread_id(ThreadIdOfReactor(i));
      Fill(channels[i], *answer);
    }
  } else {
    for (BlockDevice* device : devices) {
      v1::BdevIostat* answer = response.add_bdevs();
      answer->set_name(device->name());
      Fill(statistics_.Of(*device, reactors), *answer);
      const QueueDepths::Sampled* const sampled = queue_depths_->Of(device->name());
      if (sampled != nullptr) Fill(*sampled, *answer);
      if (std::string own = device->StatisticsJson(); !own.empty()) {
        answer->set_driver_specific(std::move(own));
      }
    }
  }
  std::vector<std::string> names;
  for (const BlockDevice* device : devices) names.push_back(device->name());
  for (const std::string& name : names) {
    co_await statistics_.DoReset(appliance_.devices(), name, ResetOf(request.reset_mode()));
  }
  co_return response;
}

Task<Result<v1::BdevResetIostatResponse>> BdevHandlers::ResetIostat(
    v1::BdevResetIostatRequest request) {
  std::vector<std::string> names;
  if (request.has_name()) {
    ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(request.name()));
    names.push_back(device->name());
  } else {
    for (const BlockDevice* device : appliance_.devices().devices()) {
      names.push_back(device->name());
    }
  }
  for (const std::string& name : names) {
    co_await statistics_.DoReset(appliance_.devices(), name, ResetOf(request.mode()));
  }
  co_return Done<v1::BdevResetIostatResponse>();
}

Task<Result<v1::BdevSetOptionsResponse>> BdevHandlers::SetOptions(
    v1::BdevSetOptionsRequest request) {
  BdevOptions& options = appliance_.bdev_options();
  options.bdev_io_pool_size = request.bdev_io_pool_size();
  options.bdev_io_cache_size = request.bdev_io_cache_size();
  options.bdev_auto_examine = request.bdev_auto_examine();
  options.iobuf_small_cache_size = request.iobuf_small_cache_size();
  options.iobuf_large_cache_size = request.iobuf_large_cache_size();
  appliance_.configuration().Put({"options", "bdev"},
                                 {{"bdev_set_options", rpc::EncodeMessage(request)}});
  co_return Done<v1::BdevSetOptionsResponse>();
}

// With the commit, what waits for the device is tried: see StackedHandlers.
Task<Result<v1::BdevExamineResponse>> BdevHandlers::Examine(v1::BdevExamineRequest request,
                                                            rpc::Caller caller) {
  if (appliance_.bdev_options().bdev_auto_examine) {
    co_return InvalidField("name", request.name(),
                           "every device is examined by itself, since bdev_auto_examine is on");
  }
  if (!caller.replay &&
      !appliance_.configuration().CallsOf({"bdev_examine", request.name()}).empty()) {
    co_return ErrorOfField(EEXIST, "name", request.name(), "was examined before");
  }
  appliance_.configuration().Put({"bdev_examine", request.name()},
                                 {{"bdev_examine", rpc::EncodeMessage(request)}});
  co_return Done<v1::BdevExamineResponse>();
}

Task<Result<v1::BdevWaitForExamineResponse>> BdevHandlers::WaitForExamine(
    v1::BdevWaitForExamineRequest) {
  co_await appliance_.PendingTried();
  co_return Done<v1::BdevWaitForExamineResponse>();
}

}  // namespace pollux::service
