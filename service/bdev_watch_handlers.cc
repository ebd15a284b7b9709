#include "service/bdev_watch_handlers.h"

#include <algorithm>
#include <utility>

#include "core/block/io_timeout.h"
#include "core/block/latency_histogram.h"
#include "core/log.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/bdev_handlers.h"
#include "service/histogram_answer.h"
#include "service/threads.h"

namespace pollux::service {
namespace {

// In the configuration, by the device's name.
constexpr char kHistogram[] = "bdev_histogram";
constexpr char kQdSampling[] = "bdev_qd_sampling";
constexpr char kTimeout[] = "bdev_timeout";
constexpr const char* kKinds[] = {kHistogram, kQdSampling, kTimeout};

constexpr int kBordersMax = 256;
constexpr uint64_t kTimeoutSecMax = 1'000'000;
constexpr uint32_t kTraceCountMax = 10'000;

std::optional<IoType> TypeOf(const v1::BdevEnableHistogramRequest& request) {
  if (!request.has_opc()) return std::nullopt;
  switch (request.opc()) {
    case v1::HISTOGRAM_OPC_READ:
      return IoType::kRead;
    case v1::HISTOGRAM_OPC_WRITE:
      return IoType::kWrite;
    case v1::HISTOGRAM_OPC_FLUSH:
      return IoType::kFlush;
    case v1::HISTOGRAM_OPC_UNMAP:
      return IoType::kUnmap;
    case v1::HISTOGRAM_OPC_WRITE_ZEROES:
      return IoType::kWriteZeroes;
    case v1::HISTOGRAM_OPC_COMPARE:
      return IoType::kCompare;
    case v1::HISTOGRAM_OPC_COMPARE_AND_WRITE:
      return IoType::kCompareAndWrite;
    case v1::HISTOGRAM_OPC_RESET:
      return IoType::kReset;
    case v1::HISTOGRAM_OPC_ABORT:
      return IoType::kAbort;
    default:
      return std::nullopt;
  }
}

LatencyHistogramOptions OptionsOf(const v1::BdevEnableHistogramRequest& request) {
  LatencyHistogramOptions options;
  options.type = TypeOf(request);
  options.granularity = request.granularity();
  options.min_nsec = request.min_nsec();
  options.max_nsec = request.max_nsec();
  return options;
}

Result<IoTimeout> TimeoutOf(const v1::BdevSetTimeoutRequest& request) {
  if (request.timeout_sec() > kTimeoutSecMax) {
    return InvalidField("timeout_sec", request.timeout_sec(), "at most %u s", kTimeoutSecMax);
  }
  IoTimeout timeout;
  timeout.after_ns = request.timeout_sec() * kNsPerSecond;
  if (request.action() == v1::TIMEOUT_ACTION_ABORT) timeout.action = IoTimeout::Action::kAbort;
  if (request.action() == v1::TIMEOUT_ACTION_RESET) timeout.action = IoTimeout::Action::kReset;
  return timeout;
}

}  // namespace

void BdevWatchHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_enable_histogram", this, &BdevWatchHandlers::EnableHistogram);
  dispatcher.Bind("bdev_get_histogram", this, &BdevWatchHandlers::GetHistogram);
  dispatcher.Bind("bdev_get_histogram_borders", this, &BdevWatchHandlers::GetHistogramBorders);
  dispatcher.Bind("bdev_set_qd_sampling_period", this, &BdevWatchHandlers::SetQdSamplingPeriod);
  dispatcher.Bind("bdev_set_timeout", this, &BdevWatchHandlers::SetTimeout);
  dispatcher.Bind("bdev_set_io_trace", this, &BdevWatchHandlers::SetIoTrace);
  dispatcher.Bind("bdev_get_io_trace", this, &BdevWatchHandlers::GetIoTrace);
}

void BdevWatchHandlers::DescribeKinds(Configuration& configuration) const {
  for (const char* kind : kKinds) configuration.SetCompanion("bdev", kind);
}

void BdevWatchHandlers::Save(const char* kind, const std::string& name, const char* method,
                             const rpc::Message& request) {
  appliance_.configuration().Put({kind, name}, {{method, rpc::EncodeMessage(request)}});
}

void BdevWatchHandlers::Forget(const char* kind, const std::string& name) {
  appliance_.configuration().Erase({kind, name});
}

Task<Result<v1::BdevEnableHistogramResponse>> BdevWatchHandlers::EnableHistogram(
    v1::BdevEnableHistogramRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(request.name()));
  request.set_name(device->name());
  const std::string name = device->name();
  if (request.enable()) {
    LatencyHistogramOptions options = OptionsOf(request);
    CO_RETURN_IF_ERROR(co_await EnableLatencyHistogram(appliance_.devices(), name, options));
    Save(kHistogram, name, "bdev_enable_histogram", request);
  } else {
    CO_RETURN_IF_ERROR(co_await DisableLatencyHistogram(appliance_.devices(), name));
    Forget(kHistogram, name);
  }
  co_return Done<v1::BdevEnableHistogramResponse>();
}

Task<Result<v1::BdevGetHistogramResponse>> BdevWatchHandlers::GetHistogram(
    v1::BdevGetHistogramRequest request) {
  ASSIGN_OR_CO_RETURN(const BlockDevice* device, appliance_.devices().Find(request.name()));
  ASSIGN_OR_CO_RETURN(const LatencyHistogram histogram, LatencyHistogramOf(*device));
  v1::BdevGetHistogramResponse response;
  Fill(histogram, response);
  co_return response;
}

Task<Result<v1::BdevGetHistogramBordersResponse>> BdevWatchHandlers::GetHistogramBorders(
    v1::BdevGetHistogramBordersRequest request) {
  if (request.borders_size() > kBordersMax) {
    co_return InvalidField("borders", request.borders_size(), "at most %d borders", kBordersMax);
  }
  ASSIGN_OR_CO_RETURN(const BlockDevice* device, appliance_.devices().Find(request.name()));
  ASSIGN_OR_CO_RETURN(const LatencyHistogram histogram, LatencyHistogramOf(*device));
  v1::BdevGetHistogramBordersResponse response;
  for (const uint64_t border : request.borders()) {
    response.add_borders_count(histogram.CountUntil(border));
  }
  response.add_borders_count(histogram.count());
  co_return response;
}

Task<Result<v1::BdevSetQdSamplingPeriodResponse>> BdevWatchHandlers::SetQdSamplingPeriod(
    v1::BdevSetQdSamplingPeriodRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(request.name()));
  request.set_name(device->name());
  CO_RETURN_IF_ERROR(bdev_.queue_depths().Set(device->name(), request.period()));
  if (request.period() > 0) {
    Save(kQdSampling, device->name(), "bdev_set_qd_sampling_period", request);
  } else {
    Forget(kQdSampling, device->name());
  }
  co_return Done<v1::BdevSetQdSamplingPeriodResponse>();
}

Task<Result<v1::BdevSetTimeoutResponse>> BdevWatchHandlers::SetTimeout(
    v1::BdevSetTimeoutRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(request.name()));
  ASSIGN_OR_CO_RETURN(const IoTimeout timeout, TimeoutOf(request));
  request.set_name(device->name());
  const std::string name = device->name();
  CO_RETURN_IF_ERROR(co_await SetIoTimeout(appliance_.devices(), name, timeout));
  if (timeout.after_ns > 0) {
    Save(kTimeout, name, "bdev_set_timeout", request);
  } else {
    Forget(kTimeout, name);
  }
  co_return Done<v1::BdevSetTimeoutResponse>();
}

Task<Result<v1::BdevSetIoTraceResponse>> BdevWatchHandlers::SetIoTrace(
    v1::BdevSetIoTraceRequest request) {
  if (request.entries() > IoTrace::kCapacityMax) {
    co_return InvalidField("entries", request.entries(), "at most %u", IoTrace::kCapacityMax);
  }
  co_await appliance_.devices().traces().Keep(request.entries());
  co_return Done<v1::BdevSetIoTraceResponse>();
}

Task<Result<v1::BdevGetIoTraceResponse>> BdevWatchHandlers::GetIoTrace(
    v1::BdevGetIoTraceRequest request) {
  if (request.count() > kTraceCountMax) {
    co_return InvalidField("count", request.count(), "at most %u", kTraceCountMax);
  }
  std::optional<uint32_t> wanted;
  if (request.has_name()) {
    ASSIGN_OR_CO_RETURN(const BlockDevice* device, appliance_.devices().Find(request.name()));
    wanted = device->number();
  }
  const IoTraces& traces = appliance_.devices().traces();
  v1::BdevGetIoTraceResponse response;
  response.set_tick_rate(kNsPerSecond);
  response.set_ticks(appliance_.clock().NowNs());
  response.set_entries(static_cast<uint32_t>(traces.capacity()));

  std::vector<std::pair<size_t, TracedIo>> all;  // With the reactor's index.
  const std::vector<std::vector<TracedIo>> by_reactor = traces.Last(request.count());
  for (size_t i = 0; i < by_reactor.size(); ++i) {
    for (const TracedIo& io : by_reactor[i]) {
      if (!wanted.has_value() || io.device == *wanted) all.emplace_back(i, io);
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.second.ended_ns < b.second.ended_ns;
  });
  for (const auto& [reactor, io] : all) {
    v1::TracedIo& shown = *response.add_ios();
    shown.set_thread_id(ThreadIdOfReactor(reactor));
    shown.set_number(io.number);
    shown.set_ticks(io.ended_ns);
    shown.set_name(traces.NameOf(io.device));
    shown.set_type(IoTypeName(io.type));
    shown.set_lba(io.lba);
    shown.set_num_blocks(io.blocks);
    shown.set_status(IoStatusName(io.status));
    shown.set_latency_ticks(io.latency_ns);
    shown.set_source(IoSourceName(io.source));
    shown.set_lent(io.lent);
  }
  co_return response;
}

void BdevWatchHandlers::OnRegistered(BlockDevice& device) {
  const auto saved = [&](const char* kind) {
    return !appliance_.configuration().CallsOf({kind, device.name()}).empty();
  };
  if (std::any_of(std::begin(kKinds), std::end(kKinds), saved)) {
    appliance_.Spawn(Restore(device.name()));
  }
}

Task<void> BdevWatchHandlers::Restore(std::string name) {
  for (const char* kind : kKinds) {
    for (const rpc::SavedCall& call : appliance_.configuration().CallsOf({kind, name})) {
      const rpc::Method* const method = appliance_.dispatcher().Find(call.method);
      if (method == nullptr) continue;
      std::unique_ptr<rpc::Message> request = appliance_.dispatcher().NewRequest(*method);
      Status status = rpc::DecodeParams(call.params, /*relaxed=*/true, *request);
      if (status.ok()) status = appliance_.dispatcher().Complete(*request);
      if (status.ok()) {
        rpc::Caller caller{.name = "restore", .replay = true};
        status = (co_await appliance_.dispatcher().CallHandler(*method, std::move(request),
                                                               std::move(caller)))
                     .status();
      }
      if (!status.ok()) {
        LogWarning("block", "%s of '%s' could not be restored: %s", call.method, name,
                   status.message());
      }
    }
  }
}

}  // namespace pollux::service
