#include "service/nvme_multipath_handlers.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "drivers/nvme_disk/nvme_controllers.h"
#include "drivers/nvme_disk/nvme_transport.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/nvme_parameters.h"

namespace pollux::service {
namespace {

void Describe(const NvmePath& path, v1::NvmeIoPath& into) {
  const pollux_nvme_transport_id& id = path.attachment().id;
  v1::NvmePathTransport& transport = *into.mutable_transport();
  transport.set_trtype(NvmeTransportName(id));
  transport.set_traddr(id.traddr);
  if (!IsNvmeFabric(id)) return;
  transport.set_trsvcid(id.trsvcid);
  transport.set_adrfam(NvmeFamilyName(id));
}

}  // namespace

void NvmeMultipathHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_nvme_get_io_paths", this, &NvmeMultipathHandlers::GetIoPaths);
  dispatcher.Bind("bdev_nvme_set_multipath_policy", this, &NvmeMultipathHandlers::SetPolicy);
  dispatcher.Bind("bdev_nvme_set_preferred_path", this, &NvmeMultipathHandlers::SetPreferred);
  dispatcher.Bind("bdev_nvme_get_path_iostat", this, &NvmeMultipathHandlers::GetPathIostat);
}

Task<Result<v1::BdevNvmeGetIoPathsResponse>> NvmeMultipathHandlers::GetIoPaths(
    v1::BdevNvmeGetIoPathsRequest request) {
  v1::BdevNvmeGetIoPathsResponse response;
  for (auto& reactor : appliance_.reactors()) {
    response.add_poll_groups()->set_thread(reactor->name());
  }
  std::vector<std::string> names;
  for (NvmeSubsystem* subsystem : appliance_.nvme().subsystems())
    names.push_back(subsystem->name());
  for (const std::string& name : names) {
    const Result<NvmeSubsystem*> subsystem = appliance_.nvme().Find(name);
    if (!subsystem.ok()) continue;  // It went while another one was looked at.
    NvmePath::Use use(*(*subsystem)->first_path());
    const std::vector<NvmeSubsystem::LaneInfo> lanes = co_await (*subsystem)->Lanes();
    for (const NvmeSubsystem::LaneInfo& lane : lanes) {
      if (request.has_name() && lane.disk != request.name()) continue;
      v1::NvmeIoPathGroup& group =
          *response.mutable_poll_groups(static_cast<int>(lane.info.reactor));
      v1::NvmeIoPath& path = *group.add_io_paths();
      path.set_bdev_name(lane.disk);
      path.set_cntlid(lane.info.path->info().cntlid);
      path.set_current(lane.info.lane.current);
      path.set_connected(lane.info.lane.connected);
      path.set_accessible(lane.info.lane.accessible);
      Describe(*lane.info.path, path);
    }
  }
  co_return response;
}

Task<Result<v1::BdevNvmeSetMultipathPolicyResponse>> NvmeMultipathHandlers::SetPolicy(
    v1::BdevNvmeSetMultipathPolicyRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * disk, appliance_.devices().Find(request.name()));
  NvmeSubsystem* const subsystem = appliance_.nvme().OfDisk(*disk);
  if (subsystem == nullptr) {
    co_return ErrorOfField(ENODEV, "name", request.name(), "is no NVMe disk");
  }
  v1::NvmeMultipathOptions options;
  options.set_policy(request.policy());
  if (request.has_selector()) options.set_selector(request.selector());
  if (request.has_rr_min_io()) options.set_min_io(request.rr_min_io());
  ASSIGN_OR_CO_RETURN(const NvmePathChoice choice, NvmePathChoiceOf(options, {}));
  const std::string name = disk->name();
  CO_RETURN_IF_ERROR(co_await subsystem->SetChoice(name, choice));
  appliance_.configuration().Put({"nvme_multipath_policy", name},
                                 {{"bdev_nvme_set_multipath_policy", rpc::EncodeMessage(request)}});
  co_return Done<v1::BdevNvmeSetMultipathPolicyResponse>();
}

Task<Result<v1::BdevNvmeSetPreferredPathResponse>> NvmeMultipathHandlers::SetPreferred(
    v1::BdevNvmeSetPreferredPathRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * disk, appliance_.devices().Find(request.name()));
  NvmeSubsystem* const subsystem = appliance_.nvme().OfDisk(*disk);
  if (subsystem == nullptr) {
    co_return ErrorOfField(ENODEV, "name", request.name(), "is no NVMe disk");
  }
  if (request.cntlid() > UINT16_MAX) {
    co_return InvalidField("cntlid", request.cntlid(), "is at most %u", UINT16_MAX);
  }
  const std::string name = disk->name();
  NvmePathKey key{.cntlid = static_cast<uint16_t>(request.cntlid()),
                  .traddr = request.traddr(),
                  .trsvcid = request.trsvcid()};
  ASSIGN_OR_CO_RETURN(key, co_await subsystem->SetPreferred(name, std::move(key)));
  // The address is what is the same after a restart.
  request.set_cntlid(key.cntlid);
  request.set_traddr(key.traddr);
  if (!key.trsvcid.empty()) request.set_trsvcid(key.trsvcid);
  appliance_.configuration().Put({"nvme_preferred_path", name},
                                 {{"bdev_nvme_set_preferred_path", rpc::EncodeMessage(request)}});
  co_return Done<v1::BdevNvmeSetPreferredPathResponse>();
}

Task<Result<v1::BdevNvmeGetPathIostatResponse>> NvmeMultipathHandlers::GetPathIostat(
    v1::BdevNvmeGetPathIostatRequest request) {
  if (!appliance_.nvme().options().io_path_stat) {
    co_return PermissionDenied(
        "I/O is not counted by path: bdev_nvme_set_options has io_path_stat");
  }
  ASSIGN_OR_CO_RETURN(BlockDevice * disk, appliance_.devices().Find(request.name()));
  NvmeSubsystem* const subsystem = appliance_.nvme().OfDisk(*disk);
  if (subsystem == nullptr || subsystem->first_path() == nullptr) {
    co_return ErrorOfField(ENODEV, "name", request.name(), "is no NVMe disk");
  }
  const std::string name = disk->name();
  const NvmePath::Use use(*subsystem->first_path());
  std::map<NvmePath*, NvmePathCounters> sums;
  const std::vector<NvmeSubsystem::LaneInfo> lanes = co_await subsystem->Lanes();
  for (const NvmeSubsystem::LaneInfo& lane : lanes) {
    if (lane.disk == name) sums[lane.info.path] += lane.info.lane.counters;
  }
  v1::BdevNvmeGetPathIostatResponse response;
  response.set_name(name);
  for (const auto& [path, sum] : sums) {
    v1::NvmePathIostat& one = *response.add_stats();
    DescribeTransport(path->attachment().id, *one.mutable_trid());
    v1::NvmePathCounters& stat = *one.mutable_stat();
    stat.set_bytes_read(sum.read.bytes);
    stat.set_num_read_ops(sum.read.operations);
    stat.set_bytes_written(sum.write.bytes);
    stat.set_num_write_ops(sum.write.operations);
    stat.set_bytes_unmapped(sum.unmap.bytes);
    stat.set_num_unmap_ops(sum.unmap.operations);
    stat.set_num_other_ops(sum.others);
    stat.set_read_latency_ticks(sum.read.latency_ns);
    stat.set_max_read_latency_ticks(sum.read.latency_max_ns);
    stat.set_min_read_latency_ticks(sum.read.latency_min_ns);
    stat.set_write_latency_ticks(sum.write.latency_ns);
    stat.set_max_write_latency_ticks(sum.write.latency_max_ns);
    stat.set_min_write_latency_ticks(sum.write.latency_min_ns);
    stat.set_unmap_latency_ticks(sum.unmap.latency_ns);
    stat.set_max_unmap_latency_ticks(sum.unmap.latency_max_ns);
    stat.set_min_unmap_latency_ticks(sum.unmap.latency_min_ns);
  }
  co_return response;
}

}  // namespace pollux::service
