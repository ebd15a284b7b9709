#include "drivers/nvme_disk/nvme_disk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <map>

#include "core/json_string.h"
#include "core/log.h"
#include "core/spec/nvme_spec.h"
#include "drivers/nvme_disk/nvme_error_names.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {
namespace {

// Per reactor. A buffer takes a block of the largest size with its metadata.
constexpr ReactorBuffers::Size kBuffers{.buffer_bytes = 128 << 10, .count = 16};
constexpr char kBuffersConsumer[] = "NVMe disks: data that a device cannot reach, and compares";
// Of one range of Dataset Management, and of one Write Zeroes (its 0's based field has 16 bits).
constexpr uint64_t kUnmapBlocksMax = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kWriteZeroesBlocksMax = 1 << 16;

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

std::string VersionText(uint32_t version) {
  const uint32_t tertiary = version & 0xff;
  const std::string text = absl::StrFormat("%d.%d", version >> 16, version >> 8 & 0xff);
  return tertiary == 0 ? text : absl::StrFormat("%s.%d", text, tertiary);
}

std::string TransportJson(const pollux_nvme_transport_id& id) {
  const std::string network =
      IsNvmeFabric(id)
          ? absl::StrFormat(",\"adrfam\":\"%s\",\"trsvcid\":%s,\"subnqn\":%s", NvmeFamilyName(id),
                            JsonStringOfLatin1(id.trsvcid), JsonStringOfLatin1(id.subnqn))
          : std::string();
  return absl::StrFormat("{\"trtype\":\"%s\",\"traddr\":%s%s}", NvmeTransportName(id),
                         JsonStringOfLatin1(id.traddr), network);
}

std::string ControllerJson(const pollux_nvme_controller_info& info) {
  const auto can = [&info](int bit) { return info.oacs >> bit & 1; };  // Base figure 275, OACS.
  const std::string subnqn = info.subnqn[0] == '\0'
                                 ? std::string()
                                 : "\"subnqn\":" + JsonStringOfLatin1(info.subnqn) + ",";
  return absl::StrFormat(
      "{\"cntlid\":%d,\"vendor_id\":\"0x%04x\",\"model_number\":%s,\"serial_number\":%s,"
      "\"firmware_revision\":%s,%s\"oacs\":{\"security\":%d,\"format\":%d,\"firmware\":%d,"
      "\"ns_manage\":%d},\"multi_ctrlr\":%s,\"ana_reporting\":%s}",
      info.cntlid, info.vendor, JsonStringOfLatin1(info.model_number),
      JsonStringOfLatin1(info.serial_number), JsonStringOfLatin1(info.firmware_revision), subnqn,
      can(0), can(1), can(2), can(3), (info.cmic >> 1 & 1) != 0 ? "true" : "false",
      (info.cmic >> 3 & 1) != 0 ? "true" : "false");
}

// {"a":1,"b":2}
std::string CountsJson(const std::map<std::string, uint64_t>& counts) {
  std::string json = "{";
  for (const auto& [key, count] : counts) {
    json += absl::StrFormat("%s\"%s\":%d", json.size() > 1 ? "," : "", key, count);
  }
  return json + "}";
}

}  // namespace

MemoryNeed NvmeDiskBuffersNeed(size_t reactors) {
  return ReactorBuffers::Need(kBuffersConsumer, reactors, kBuffers);
}

Result<std::unique_ptr<ReactorBuffers>> MakeNvmeDiskBuffers(Memory& memory, size_t reactors) {
  return ReactorBuffers::Make(memory, kBuffersConsumer, reactors, kBuffers);
}

Result<std::unique_ptr<NvmeDisk>> NvmeDisk::Make(const NvmeDiskOptions& options,
                                                 const NvmeDiskParts& parts) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(parts.ns);
  ASSIGN_OR_RETURN(const Geometry geometry, GeometryOf(info, options));
  const Uuid uuid = UuidOf(info, *pollux_nvme_get_controller_info(parts.controller));
  std::unique_ptr<NvmeDisk> disk(new NvmeDisk(options, parts, geometry, uuid));
  RETURN_IF_ERROR(disk->MakeMetadataMemory());
  return disk;
}

NvmeDisk::NvmeDisk(const NvmeDiskOptions& options, const NvmeDiskParts& parts,
                   const Geometry& geometry, Uuid uuid)
    : BlockDevice(options.name, kNvmeDiskProduct, geometry, uuid),
      parts_(parts),
      metadata_memory_(nullptr, nvme::MemoryDeleter{parts.host}) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(parts.ns);
  facts_.ns = parts.ns;
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
  nvme::IdentifyController identify;
  memcpy(&identify, pollux_nvme_identify_controller(parts.controller), sizeof(identify));
  facts_.retry_delays_ms = {0, identify.crdt1 * 100u, identify.crdt2 * 100u, identify.crdt3 * 100u};

  read_only_ = info.read_only;
  volatile_cache_ = info.volatile_cache;
  numa_node_ = pollux_nvme_get_controller_info(parts.controller)->numa_node;
  buffers_ = parts.buffers;
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
  limits_.unmap_blocks_max = kUnmapBlocksMax;
  limits_.write_zeroes_blocks_max = kWriteZeroesBlocksMax;
  limits_.buffer_alignment = 4;  // Base §4.1.1.
  limits_.preferred_write_alignment_blocks = info.preferred_write_alignment_blocks;
  limits_.preferred_write_granularity_blocks = info.preferred_write_granularity_blocks;
  limits_.optimal_write_blocks = info.optimal_write_blocks;
  limits_.preferred_unmap_alignment_blocks = info.preferred_deallocate_alignment_blocks;
  limits_.preferred_unmap_granularity_blocks = info.preferred_deallocate_granularity_blocks;
  limits_.unmapped_reads_zero = info.deallocated_reads_zero;
}

// For I/O without metadata. Not more than one command can need.
Status NvmeDisk::MakeMetadataMemory() {
  if (facts_.separate_metadata_bytes == 0) return OkStatus();
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(parts_.ns);
  const size_t bytes = size_t{info.transfer_blocks_max} * facts_.separate_metadata_bytes;
  metadata_memory_ = nvme::Allocate(parts_.host, 2 * bytes);
  if (metadata_memory_ == nullptr) {
    return OutOfMemory("no memory for the metadata of %s: %u bytes", name(), 2 * bytes);
  }
  facts_.metadata_sink = static_cast<std::byte*>(metadata_memory_.get());
  facts_.metadata_zeroes = facts_.metadata_sink + bytes;
  return OkStatus();
}

uint32_t NvmeDisk::nsid() const { return pollux_nvme_get_namespace_info(parts_.ns)->nsid; }

Result<std::unique_ptr<BlockChannel>> NvmeDisk::MakeChannel(Reactor& reactor) {
  return std::make_unique<NvmeChannel>(*this, *(*parts_.queues)[reactor.index()], facts_,
                                       parts_.buffers->of(reactor.index()));
}

std::string NvmeDisk::DriverSpecificJson() const {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(parts_.ns);
  const pollux_nvme_controller_info& controller =
      *pollux_nvme_get_controller_info(parts_.controller);
  const std::string address =
      controller.id.trtype == POLLUX_NVME_TRANSPORT_PCIE
          ? "\"pci_address\":" + JsonStringOfLatin1(controller.id.traddr) + ","
          : std::string();
  const char* security = (controller.oacs & 1) != 0 ? ",\"security\":{\"opal\":false}" : "";
  return absl::StrFormat(
      "{\"nvme\":[{%s\"trid\":%s,\"ctrlr_data\":%s,\"vs\":{\"nvme_version\":\"%s\"},"
      "\"ns_data\":{\"id\":%d,\"can_share\":%s}%s}],\"mp_policy\":\"active_passive\"}",
      address, TransportJson(controller.id), ControllerJson(controller),
      VersionText(controller.version), info.nsid, info.shareable ? "true" : "false", security);
}

std::string NvmeDisk::StatisticsJson() const {
  if (!facts_.count_errors) return {};
  std::map<std::string, uint64_t> types, codes;
  for (size_t reactor = 0; reactor < parts_.queues->size(); ++reactor) {
    const auto* channel = static_cast<const NvmeChannel*>(this->channel(reactor));
    if (channel == nullptr || channel->errors() == nullptr) continue;
    const NvmeErrorCounters& errors = *channel->errors();
    for (size_t sct = 0; sct < errors.by_type.size(); ++sct) {
      const uint32_t count = errors.by_type[sct].load(std::memory_order_relaxed);
      if (count > 0) types[NvmeStatusTypeKey(static_cast<uint8_t>(sct))] += count;
      if (sct >= errors.by_code.size() || count == 0) continue;
      for (size_t sc = 0; sc < errors.by_code[sct].size(); ++sc) {
        const uint32_t of_code = errors.by_code[sct][sc].load(std::memory_order_relaxed);
        if (of_code == 0) continue;
        codes[NvmeStatusKey(static_cast<uint8_t>(sct), static_cast<uint8_t>(sc))] += of_code;
      }
    }
  }
  return absl::StrFormat("{\"nvme_error\":{\"status_type\":%s,\"status_code\":%s}}",
                         CountsJson(types), CountsJson(codes));
}

}  // namespace pollux
