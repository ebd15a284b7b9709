#include "drivers/nvme_disk/nvme_disk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/run_on.h"
#include "core/spec/nvme_spec.h"
#include "drivers/nvme_disk/nvme_path.h"

namespace pollux {
namespace {

// Per reactor. A buffer takes a block of the largest size with its metadata.
constexpr ReactorBuffers::Size kBuffers{.buffer_bytes = 128 << 10, .count = 16};
constexpr char kBuffersConsumer[] = "NVMe disks: data that a device cannot reach, and compares";
// Of one range of Dataset Management, and of one Write Zeroes (its 0's based field has 16 bits).
constexpr uint64_t kUnmapBlocksMax = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kWriteZeroesBlocksMax = 1 << 16;

// The device's limit, if it has one, and ours.
uint64_t AtMost(uint64_t limit, uint64_t ours) { return limit == 0 ? ours : std::min(limit, ours); }

bool IsAllZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// The identity that the namespace says, or one that follows from what else tells it apart: in
// either case the same after a restart, and on every path.
Uuid UuidOf(const pollux_nvme_namespace_info& info, const pollux_nvme_controller_info& controller) {
  Uuid uuid;
  const auto copy = [&uuid](const uint8_t* from) { std::copy_n(from, 16, uuid.bytes.begin()); };
  if (!IsAllZero(info.nguid)) return copy(info.nguid), uuid;
  if (!IsAllZero(info.uuid)) return copy(info.uuid), uuid;
  const std::string seed =
      absl::StrFormat("%04x %s %s %d", controller.vendor, controller.model_number,
                      controller.serial_number, info.nsid);
  // FNV-1a over each half with its own beginning; version 8, variant 1 (RFC 9562).
  for (size_t half = 0; half < 2; ++half) {
    uint64_t hash = 0xcbf29ce484222325 + half;
    for (const char c : seed) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    for (size_t i = 0; i < 8; ++i) {
      uuid.bytes[half * 8 + i] = static_cast<uint8_t>(hash >> (56 - 8 * i));
    }
  }
  uuid.bytes[6] = static_cast<uint8_t>(0x80 | (uuid.bytes[6] & 0x0f));
  uuid.bytes[8] = static_cast<uint8_t>(0x80 | (uuid.bytes[8] & 0x3f));
  return uuid;
}

Result<Geometry> GeometryOf(const pollux_nvme_namespace_info& info,
                            const NvmeDiskOptions& options) {
  if (info.csi != POLLUX_NVME_CSI_NVM) {
    return NotSupported("namespace %u has command set %u: only those of blocks are disks",
                        info.nsid, info.csi);
  }
  const uint64_t unit = uint64_t{info.block_bytes} + info.metadata_bytes;
  if (!std::has_single_bit(info.block_bytes) || info.block_bytes < 512 ||
      info.block_bytes > 65536 || unit > kBuffers.buffer_bytes) {
    return NotSupported("namespace %u has blocks of %u bytes with %u bytes of metadata", info.nsid,
                        info.block_bytes, info.metadata_bytes);
  }
  if (info.blocks == 0 || info.blocks > std::numeric_limits<int64_t>::max() / unit) {
    return NotSupported("namespace %u has %u blocks", info.nsid, info.blocks);
  }
  Geometry geometry;
  geometry.block_bytes = info.block_bytes;
  geometry.blocks = info.blocks;
  geometry.metadata_bytes = info.metadata_bytes;
  geometry.metadata_interleaved = info.metadata_bytes > 0 && info.metadata_extended;
  geometry.optimal_boundary_blocks = info.optimal_boundary_blocks;
  const uint64_t granularity = uint64_t{info.preferred_write_granularity_blocks} * info.block_bytes;
  const bool usable = std::has_single_bit(granularity) && granularity <= 1 << 20;
  geometry.physical_block_bytes = usable ? static_cast<uint32_t>(granularity) : info.block_bytes;
  geometry.protection_type = info.protection_type;
  geometry.protection_first = info.protection_first_bytes;
  geometry.checks_reference_tag = info.protection_type != 0 && options.check_reference_tag;
  geometry.checks_guard = info.protection_type != 0 && options.check_guard;
  return geometry;
}

}  // namespace

MemoryNeed NvmeDiskBuffersNeed(size_t reactors) {
  return ReactorBuffers::Need(kBuffersConsumer, reactors, kBuffers);
}

Result<std::unique_ptr<ReactorBuffers>> MakeNvmeDiskBuffers(Memory& memory, size_t reactors) {
  return ReactorBuffers::Make(memory, kBuffersConsumer, reactors, kBuffers);
}

Result<std::unique_ptr<NvmeDisk>> NvmeDisk::Make(const NvmeDiskOptions& options, NvmePath& path,
                                                 const pollux_nvme_namespace* ns) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(ns);
  ASSIGN_OR_RETURN(const Geometry geometry, GeometryOf(info, options));
  const Uuid uuid = UuidOf(info, path.info());
  std::unique_ptr<NvmeDisk> disk(new NvmeDisk(options, path, ns, geometry, uuid));
  ASSIGN_OR_RETURN(std::unique_ptr<NvmeRoute> route, disk->MakeRoute(path, ns));
  disk->routes_.push_back(std::move(route));
  return disk;
}

NvmeDisk::NvmeDisk(const NvmeDiskOptions& options, NvmePath& path, const pollux_nvme_namespace* ns,
                   const Geometry& geometry, Uuid uuid)
    : BlockDevice(options.name, kNvmeDiskProduct, geometry, uuid),
      reactors_(path.environment().reactors),
      options_(options),
      choice_(options.choice) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(ns);
  facts_.block_bytes = geometry.data_block_bytes();
  facts_.separate_metadata_bytes = geometry.metadata_interleaved ? 0 : geometry.metadata_bytes;
  facts_.protected_data = info.protection_type != 0;
  // Type 3 has no reference tag that follows from the block's number. NVM §5.2.1.3.
  if (options.check_reference_tag && info.protection_type < 3) {
    facts_.check_flags |= POLLUX_NVME_CHECK_REFTAG;
  }
  if (options.check_guard) facts_.check_flags |= POLLUX_NVME_CHECK_GUARD;
  facts_.volatile_cache = info.volatile_cache;
  facts_.retries_max = options.retries_max;
  facts_.count_errors = options.count_errors;
  facts_.count_paths = options.count_paths;
  nvme::IdentifyController identify;
  memcpy(&identify, pollux_nvme_identify_controller(path.c()), sizeof(identify));

  read_only_ = info.read_only;
  volatile_cache_ = info.volatile_cache;
  numa_node_ = pollux_nvme_get_controller_info(path.c())->numa_node;
  buffers_ = &path.environment().buffers;
  const auto execute = [this](IoType type) { executes_.set(static_cast<size_t>(type)); };
  execute(IoType::kRead);
  execute(IoType::kWrite);
  if (info.volatile_cache) execute(IoType::kFlush);
  if (info.dsm) execute(IoType::kUnmap);
  if (info.write_zeroes) execute(IoType::kWriteZeroes);
  if (info.compare) execute(IoType::kCompare);
  DescribeLimits(info);
  // Bit 0 of FUSES: compare and write. Both halves of a buffer are its data.
  const uint64_t fused_blocks = std::min<uint64_t>(
      info.atomic_compare_write_blocks, kBuffers.buffer_bytes / 2 / geometry.data_block_bytes());
  if (info.compare && (identify.fuses & 1) != 0 && geometry.metadata_bytes == 0 &&
      fused_blocks > 0) {
    execute(IoType::kCompareAndWrite);
    limits_.compare_and_write_blocks_max = fused_blocks;
  }
}

void NvmeDisk::DescribeLimits(const pollux_nvme_namespace_info& info) {
  limits_.io_bytes_max = uint64_t{info.transfer_blocks_max} * geometry().data_block_bytes();
  limits_.unmap_blocks_max =
      AtMost(info.deallocate_blocks_max, AtMost(info.deallocate_range_blocks_max, kUnmapBlocksMax));
  limits_.write_zeroes_blocks_max = AtMost(info.write_zeroes_blocks_max, kWriteZeroesBlocksMax);
  limits_.buffer_alignment = 4;  // Base §4.1.1.
  limits_.preferred_write_alignment_blocks = info.preferred_write_alignment_blocks;
  limits_.preferred_write_granularity_blocks = info.preferred_write_granularity_blocks;
  limits_.optimal_write_blocks = info.optimal_write_blocks;
  limits_.preferred_unmap_alignment_blocks = info.preferred_deallocate_alignment_blocks;
  limits_.preferred_unmap_granularity_blocks = info.preferred_deallocate_granularity_blocks;
  limits_.unmapped_reads_zero = info.deallocated_reads_zero;
}

Result<std::unique_ptr<BlockChannel>> NvmeDisk::MakeChannel(Reactor& reactor) {
  const NvmeRoute& route = *routes_.front();
  auto channel =
      std::make_unique<NvmeChannel>(*this, reactor, facts_, buffers_->of(reactor.index()));
  channel->SetChoice(choice_, nullptr);
  channel->AddLane(route, *route.path.queues()[reactor.index()], AccessBy(route));
  return channel;
}

// --- Paths.

// Memory for I/O without metadata is not more than one command can need.
Result<std::unique_ptr<NvmeRoute>> NvmeDisk::MakeRoute(NvmePath& path,
                                                       const pollux_nvme_namespace* ns) const {
  auto route = std::make_unique<NvmeRoute>(path, ns);
  nvme::IdentifyController identify;
  memcpy(&identify, pollux_nvme_identify_controller(path.c()), sizeof(identify));
  route->retry_delays_ms = {0, identify.crdt1 * 100u, identify.crdt2 * 100u, identify.crdt3 * 100u};
  route->reports_access = path.reports_access();
  if (facts_.separate_metadata_bytes == 0) return route;
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(ns);
  const size_t bytes = size_t{info.transfer_blocks_max} * facts_.separate_metadata_bytes;
  route->metadata = nvme::Allocate(path.host(), 2 * bytes);
  if (route->metadata == nullptr) {
    return OutOfMemory("no memory for the metadata of %s: %u bytes", name(), 2 * bytes);
  }
  route->metadata_blocks = info.transfer_blocks_max;
  route->metadata_sink = static_cast<std::byte*>(route->metadata.get());
  route->metadata_zeroes = route->metadata_sink + bytes;
  return route;
}

// Whether the namespace is this disk, and can all that the disk can.
Status NvmeDisk::CheckSame(const pollux_nvme_namespace_info& info, const NvmePath& path) const {
  const pollux_nvme_namespace_info& own = *pollux_nvme_get_namespace_info(routes_.front()->ns);
  const bool named =
      !IsAllZero(info.nguid) || !IsAllZero(info.uuid) || !IsAllZero(info.eui64) || info.shareable;
  if (!named) return InvalidArgument("nothing says that it is the same as on the other paths");
  const auto same = [](std::span<const uint8_t> a, std::span<const uint8_t> b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  };
  if (UuidOf(info, path.info()).bytes != uuid().bytes || !same(info.nguid, own.nguid) ||
      !same(info.uuid, own.uuid) || !same(info.eui64, own.eui64)) {
    return InvalidArgument("its identity is not that of %s", name());
  }
  ASSIGN_OR_RETURN(const Geometry there, GeometryOf(info, options_));
  const Geometry& here = geometry();
  if (there.block_bytes != here.block_bytes || there.blocks != here.blocks ||
      there.metadata_bytes != here.metadata_bytes ||
      there.metadata_interleaved != here.metadata_interleaved ||
      there.protection_type != here.protection_type ||
      there.protection_first != here.protection_first) {
    return InvalidArgument("its size or format is not that of %s", name());
  }
  const bool less = (info.volatile_cache && !own.volatile_cache) || (own.dsm && !info.dsm) ||
                    (own.write_zeroes && !info.write_zeroes) || (own.compare && !info.compare) ||
                    info.atomic_compare_write_blocks < limits_.compare_and_write_blocks_max ||
                    info.read_only != own.read_only;
  const uint64_t transfer = uint64_t{info.transfer_blocks_max} * here.data_block_bytes();
  if (less || transfer < std::min<uint64_t>(limits_.io_bytes_max, kBuffers.buffer_bytes)) {
    return InvalidArgument("it cannot do what %s can", name());
  }
  return OkStatus();
}

NvmeAccess NvmeDisk::AccessBy(const NvmeRoute& route) {
  return route.path.access(*pollux_nvme_get_namespace_info(route.ns));
}

NvmeRoute* NvmeDisk::RouteOf(const NvmePath& path) const {
  for (const auto& route : routes_) {
    if (&route->path == &path && !route->retired) return route.get();
  }
  return nullptr;
}

bool NvmeDisk::KnowsPath(const NvmePath& path) const {
  return std::any_of(routes_.begin(), routes_.end(),
                     [&path](const auto& route) { return &route->path == &path; });
}

bool NvmeDisk::HasOther(const NvmePath& path) const {
  return std::any_of(routes_.begin(), routes_.end(), [&path](const auto& route) {
    return &route->path != &path && !route->retired;
  });
}

template <typename Step>
Task<void> NvmeDisk::OnChannels(Step step) {
  for (auto& reactor : reactors_) {
    auto* const its = static_cast<NvmeChannel*>(channel(reactor->index()));
    if (its == nullptr) continue;
    auto here = [&step, its] { step(*its); };
    co_await RunOn(*reactor, here);
  }
}

// A namespace that went and came back on a path has the lane that it had: there are not many.
NvmeRoute* NvmeDisk::RetiredRouteOf(const NvmePath& path,
                                    const pollux_nvme_namespace_info& info) const {
  for (const auto& route : routes_) {
    if (&route->path != &path || !route->retired) continue;
    const bool metadata_fits =
        facts_.separate_metadata_bytes == 0 || info.transfer_blocks_max <= route->metadata_blocks;
    if (metadata_fits) return route.get();
  }
  return nullptr;
}

Task<Status> NvmeDisk::AddPath(NvmePath& path, const pollux_nvme_namespace* ns) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(ns);
  CO_RETURN_IF_ERROR(CheckSame(info, path));
  if (NvmeRoute* const route = RetiredRouteOf(path, info); route != nullptr) {
    route->ns = ns;
    route->retired = false;
    auto reopen = [route, access = AccessBy(*route)](NvmeChannel& one) {
      one.ReopenLane(*route, access);
    };
    co_await OnChannels(reopen);
    co_return OkStatus();
  }
  if (routes_.size() == NvmeChannel::kLanesMax) {
    co_return NoSpace("%s has %d paths already", name(), routes_.size());
  }
  ASSIGN_OR_CO_RETURN(std::unique_ptr<NvmeRoute> route, MakeRoute(path, ns));
  routes_.push_back(std::move(route));
  auto add = [made = routes_.back().get(), access = AccessBy(*routes_.back())](NvmeChannel& one) {
    one.AddLane(*made, *made->path.queues()[one.reactor().index()], access);
  };
  co_await OnChannels(add);
  co_return OkStatus();
}

Task<void> NvmeDisk::ClosePath(NvmePath& path) {
  NvmeRoute* const route = RouteOf(path);
  if (route == nullptr) co_return;
  route->retired = true;
  if (preferred_ == route) preferred_ = nullptr;
  auto close = [route](NvmeChannel& one) { one.CloseLane(*route); };
  co_await OnChannels(close);
}

Task<void> NvmeDisk::RemovePath(NvmePath& path) {
  for (const auto& route : routes_) {
    if (&route->path != &path) continue;
    auto remove = [r = route.get()](NvmeChannel& one) { one.RemoveLane(*r); };
    co_await OnChannels(remove);
  }
  std::erase_if(routes_, [&path](const auto& route) { return &route->path == &path; });
}

Task<void> NvmeDisk::UpdateAccess(NvmePath& path) {
  NvmeRoute* const route = RouteOf(path);
  auto set = [route, access = AccessBy(*route)](NvmeChannel& one) {
    one.SetAccess(*route, access);
  };
  co_await OnChannels(set);
}

Task<void> NvmeDisk::SetChoice(NvmePathChoice choice) {
  choice_ = choice;
  auto set = [this](NvmeChannel& one) { one.SetChoice(choice_, preferred_); };
  co_await OnChannels(set);
}

Task<void> NvmeDisk::SetPreferred(NvmePath& path) {
  preferred_ = RouteOf(path);
  auto set = [this](NvmeChannel& one) { one.SetChoice(choice_, preferred_); };
  co_await OnChannels(set);
}

Task<std::vector<NvmeDisk::LaneInfo>> NvmeDisk::Lanes() {
  std::vector<LaneInfo> all;
  auto gather = [&all](NvmeChannel& one) {
    for (const NvmeChannel::LaneInfo& lane : one.Lanes()) {
      all.push_back({.path = &lane.route->path, .reactor = one.reactor().index(), .lane = lane});
    }
  };
  co_await OnChannels(gather);
  co_return all;
}

}  // namespace pollux
