#include "drivers/nvme/identify.h"

#include <algorithm>
#include <cstring>

#include "core/clock.h"
#include "core/wire_int.h"

namespace pollux::nvme {
namespace {

// A namespace's blocks: 512 bytes to 64 KiB.
constexpr uint8_t kLbadsMin = 9, kLbadsMax = 16;
constexpr uint32_t kMetadataMax = 4096;  // More than anybody has; keeps sums small.
constexpr uint32_t kProtectionBytes = 8;
constexpr uint32_t kTransferBlocksMax = 65536;  // NLB has 16 bits, 0's based.
constexpr unsigned kMdtsMax = 16;               // 256 MiB of 4 KiB pages: as good as no limit.
constexpr uint64_t kShutdownDefaultNs = 10 * kNsPerSecond;
constexpr uint64_t kShutdownMaxNs = 120 * kNsPerSecond;
constexpr uint32_t kKeepAliveUnitMs = 100;
constexpr uint32_t kVersion12 = 0x010200;

constexpr uint8_t kNsfeatAtomics = 1 << 1, kNsfeatOptimal = 1 << 4;
constexpr uint8_t kFlbasExtended = 1 << 4;
constexpr uint8_t kDpsFirst = 1 << 3;
constexpr uint8_t kNsattrWriteProtected = 1 << 0;
constexpr uint8_t kNmicShared = 1 << 0;
constexpr uint8_t kVwcPresent = 1 << 0;
constexpr uint8_t kDlfeatReadMask = 0x7, kDlfeatReadsZero = 0x1;
constexpr uint8_t kEntrySizesMin = 0x0f;  // SQES, CQES: the required size, log2.

template <typename T, size_t N>
bool AllZero(const T (&field)[N]) {
  return std::all_of(std::begin(field), std::end(field), [](T byte) { return byte == 0; });
}

void CopyText(std::span<char> into, std::span<const char> field) {
  const std::string text = CleanText(field);
  const size_t bytes = std::min(text.size(), into.size() - 1);
  memcpy(into.data(), text.data(), bytes);
  into[bytes] = 0;
}

// 4096 << mpsmin << MDTS, and no more than the driver's lists hold.
uint64_t TransferBytesMax(const IdentifyController& identify, uint32_t page_bytes,
                          uint64_t lists_bytes_max) {
  if (identify.mdts == 0 || identify.mdts > kMdtsMax) return lists_bytes_max;
  return std::min(uint64_t{page_bytes} << identify.mdts, lists_bytes_max);
}

uint64_t Nanoseconds(uint32_t rtd3e_us) {
  if (rtd3e_us == 0) return kShutdownDefaultNs;
  return std::clamp(rtd3e_us * kNsPerUs, kNsPerSecond, kShutdownMaxNs);
}

// From a field that is 0's based where it says anything.
uint32_t OneBased(uint16_t field) { return uint32_t{field} + 1; }

Status BadNamespace(uint32_t nsid, const std::string& why) {
  return DataLoss("namespace %u: %s", nsid, why);
}

void FillAtomics(const IdentifyNamespace& identify, const IdentifyController& controller,
                 pollux_nvme_namespace_info& info) {
  info.atomic_write_blocks = OneBased(controller.awun);
  info.atomic_write_power_fail_blocks = OneBased(controller.awupf);
  info.atomic_compare_write_blocks = OneBased(controller.acwu);
  if ((identify.nsfeat & kNsfeatAtomics) == 0) return;
  // A zero means that the controller's value counts.
  if (identify.nawun != 0) info.atomic_write_blocks = OneBased(identify.nawun);
  if (identify.nawupf != 0) info.atomic_write_power_fail_blocks = OneBased(identify.nawupf);
  if (identify.nacwu != 0) info.atomic_compare_write_blocks = OneBased(identify.nacwu);
}

void FillOptimal(const IdentifyNamespace& identify, pollux_nvme_namespace_info& info) {
  info.optimal_boundary_blocks = identify.noiob;
  if ((identify.nsfeat & kNsfeatOptimal) == 0) return;
  info.preferred_write_granularity_blocks = OneBased(identify.npwg);
  info.preferred_write_alignment_blocks = OneBased(identify.npwa);
  info.preferred_deallocate_granularity_blocks = OneBased(identify.npdg);
  info.preferred_deallocate_alignment_blocks = OneBased(identify.npda);
  info.optimal_write_blocks = OneBased(identify.nows);
}

void FillCommands(const IdentifyNamespace& identify, const IdentifyController& controller,
                  pollux_nvme_namespace_info& info) {
  const uint16_t oncs = controller.oncs;
  info.compare = (oncs & oncs::kCompare) != 0;
  info.write_uncorrectable = (oncs & oncs::kWriteUncorrectable) != 0;
  info.dsm = (oncs & oncs::kDsm) != 0;
  info.write_zeroes = (oncs & oncs::kWriteZeroes) != 0;
  info.verify = (oncs & oncs::kVerify) != 0;
  info.reservations = (oncs & oncs::kReservations) != 0 && identify.rescap != 0;
  // Without room for one range the command is of no use.
  info.copy = (oncs & oncs::kCopy) != 0 && identify.mssrl != 0 && identify.mcl != 0;
  if (info.copy) {
    info.copy_range_blocks_max = identify.mssrl;
    info.copy_blocks_max = identify.mcl;
    info.copy_ranges_max = static_cast<uint16_t>(identify.msrc + 1);
  }
  info.volatile_cache = (controller.vwc & kVwcPresent) != 0;
}

// A limit of one command, in bytes by its power of two, in blocks. 0: none. A limit below one block
// leaves nothing of the command.
uint32_t LimitBlocks(uint8_t exponent, uint32_t page_bytes, uint32_t block_bytes, bool& command) {
  constexpr uint8_t kNone = 32;  // And more than a command can name.
  if (exponent == 0 || exponent >= kNone) return 0;
  const uint64_t blocks = (uint64_t{page_bytes} << exponent) / block_bytes;
  if (blocks == 0) command = false;
  return static_cast<uint32_t>(std::min<uint64_t>(blocks, kTransferBlocksMax));
}

void FillLimits(const ControllerFacts& controller, pollux_nvme_namespace_info& info) {
  const IdentifyNvmController& limits = controller.limits;
  const uint32_t page = controller.page_bytes, block = info.block_bytes;
  info.write_zeroes_blocks_max = LimitBlocks(limits.wzsl, page, block, info.write_zeroes);
  info.verify_blocks_max = LimitBlocks(limits.vsl, page, block, info.verify);
  info.write_uncorrectable_blocks_max =
      LimitBlocks(limits.wusl, page, block, info.write_uncorrectable);
  info.deallocate_ranges_max = limits.dmrl;
  info.deallocate_range_blocks_max = limits.dmrsl;
  info.deallocate_blocks_max = limits.dmsl;
}

Status FillZones(uint32_t nsid, uint32_t format, const IdentifyZonedNamespace& zoned,
                 const ControllerFacts& controller, pollux_nvme_namespace_info& info) {
  info.zone_blocks = zoned.lbafe[format].zsze;
  if (info.zone_blocks == 0 || info.zone_blocks > info.blocks) {
    return BadNamespace(nsid, absl::StrFormat("zones of %u blocks, in a namespace of %u",
                                              info.zone_blocks, info.blocks));
  }
  // 0's based; all ones: no limit.
  const uint32_t open = zoned.mor, active = zoned.mar;
  info.open_zones_max = open == ~uint32_t{0} ? 0 : open + 1;
  info.active_zones_max = active == ~uint32_t{0} ? 0 : active + 1;
  info.zone_append_bytes_max = controller.zone_append_bytes_max;
  return OkStatus();
}

}  // namespace

std::string CleanText(std::span<const char> field) {
  std::string text;
  for (const char c : field) {
    if (c == 0) break;
    text += c >= 0x20 && c < 0x7f ? c : '?';
  }
  text.resize(text.find_last_not_of(' ') + 1);
  return text;
}

Result<ControllerFacts> DescribeController(const IdentifyController& identify,
                                           const Capabilities& capabilities,
                                           uint64_t lists_bytes_max) {
  // Zeroes come from devices of the first revision.
  const bool sizes_told = identify.sqes != 0 || identify.cqes != 0;
  if (sizes_told &&
      ((identify.sqes & kEntrySizesMin) > 6 || (identify.cqes & kEntrySizesMin) > 4)) {
    return NotSupported("queue entries of %u and %u bytes are required, log2: 6 and 4 are ours",
                        identify.sqes & kEntrySizesMin, identify.cqes & kEntrySizesMin);
  }

  ControllerFacts facts;
  facts.identify = identify;
  facts.discovery = identify.cntrltype == kControllerTypeDiscovery;
  facts.administrative = facts.discovery || identify.cntrltype == kControllerTypeAdministrative;
  if (!facts.administrative && identify.nn == 0) {
    return DataLoss("Identify Controller says that there can be no namespace (NN is 0)");
  }
  facts.page_bytes = capabilities.page_bytes;
  facts.aborts_max = uint32_t{identify.acl} + 1;
  facts.async_events_max = uint32_t{identify.aerl} + 1;
  facts.keep_alive_unit_ms = uint32_t{identify.kas} * kKeepAliveUnitMs;
  facts.shutdown_limit_ns = Nanoseconds(identify.rtd3e);
  // FWUG: units of 4 KiB; 0: nothing is said; FFh: no restriction.
  const uint8_t unit = identify.fwug;
  facts.firmware_unit_bytes = unit == 0 || unit == 0xff ? 4096 : unit * 4096u;

  pollux_nvme_controller_info& info = facts.info;
  info.vendor = identify.vid;
  info.subsystem_vendor = identify.ssvid;
  info.cntlid = identify.cntlid;
  CopyText(info.serial_number, identify.sn);
  CopyText(info.model_number, identify.mn);
  CopyText(info.firmware_revision, identify.fr);
  CopyText(info.subnqn, identify.subnqn);
  info.version = capabilities.version;
  info.oacs = identify.oacs;
  info.oncs = identify.oncs;
  info.sgls = identify.sgls;
  info.oaes = capabilities.version >= kVersion12 ? uint32_t{identify.oaes} : 0u;
  info.ctratt = identify.ctratt;
  info.cmic = identify.cmic;
  info.anacap = identify.anacap;
  info.vwc = identify.vwc;
  info.fna = identify.fna;
  info.frmw = identify.frmw;
  info.npss = std::min<uint8_t>(identify.npss, 31);  // PSD has 32.
  info.namespaces_max = identify.nn;
  info.transfer_bytes_max = TransferBytesMax(identify, capabilities.page_bytes, lists_bytes_max);
  facts.zone_append_bytes_max = info.transfer_bytes_max;
  return facts;
}

Result<bool> ReadNamespaceList(std::span<const std::byte, kIdentifyBytes> list, uint32_t after,
                               std::vector<uint32_t>& found) {
  uint32_t last = after;
  for (size_t at = 0; at < list.size(); at += sizeof(Le32)) {
    Le32 wire;
    memcpy(&wire, list.data() + at, sizeof(wire));
    const uint32_t nsid = wire;
    if (nsid == 0) return false;
    if (nsid <= last || nsid >= kAllNamespaces - 1) {
      return DataLoss("the list of active namespaces is not ascending: 0x%x after 0x%x", nsid,
                      last);
    }
    if (found.size() == kNamespacesMax) return false;
    found.push_back(nsid);
    last = nsid;
  }
  return true;
}

Result<NamespaceIds> ReadNamespaceDescriptors(std::span<const std::byte, kIdentifyBytes> data) {
  NamespaceIds ids;
  size_t at = 0;
  while (at + sizeof(NamespaceDescriptor) <= data.size()) {
    NamespaceDescriptor head;
    memcpy(&head, data.data() + at, sizeof(head));
    if (head.nidl == 0) return ids;
    at += sizeof(head);
    if (head.nidl > data.size() - at) {
      return DataLoss("a namespace identification descriptor ends behind its list");
    }
    const std::byte* const value = data.data() + at;
    const auto take = [&](uint8_t type, auto& into) {
      if (head.nidt != type) return true;
      if (head.nidl != sizeof(into)) return false;
      memcpy(&into, value, sizeof(into));
      return true;
    };
    uint8_t csi = 0;
    if (!take(kNidtEui64, ids.eui64) || !take(kNidtNguid, ids.nguid) ||
        !take(kNidtUuid, ids.uuid) || !take(kNidtCsi, csi)) {
      return DataLoss("a namespace identification descriptor of type %u has %u bytes", head.nidt,
                      head.nidl);
    }
    if (head.nidt == kNidtCsi) ids.csi = csi;
    at += head.nidl;
  }
  return ids;
}

uint32_t FormatIndex(const IdentifyNamespace& identify) {
  const uint32_t low = identify.flbas & 0xfu;
  // Bits 6:5 count only where there are more than 16 formats.
  return identify.nlbaf > 15 ? low | (identify.flbas >> 5 & 3u) << 4 : low;
}

bool HasShortGuard(std::span<const std::byte, kIdentifyBytes> nvm_specific,
                   const IdentifyNamespace& identify) {
  constexpr size_t kElbaf = 12;  // ELBAF0. NVM figure 100.
  constexpr Field<uint32_t> kPif{7, 2};
  Le32 format;
  memcpy(&format, nvm_specific.data() + kElbaf + sizeof(format) * FormatIndex(identify),
         sizeof(format));
  return kPif.Get(format) == 0;
}

Result<std::optional<Namespace::Facts>> DescribeNamespace(uint32_t nsid,
                                                          const IdentifyNamespace& identify,
                                                          const NamespaceIds& ids,
                                                          const IdentifyZonedNamespace* zoned,
                                                          const ControllerFacts& controller) {
  const uint64_t blocks = identify.nsze;
  if (blocks == 0) return std::nullopt;
  const uint32_t index = FormatIndex(identify);
  if (identify.nlbaf >= std::size(identify.lbaf) || index > identify.nlbaf) {
    return BadNamespace(
        nsid, absl::StrFormat("its LBA format is number %u of %u", index, identify.nlbaf + 1u));
  }
  const LbaFormat& format = identify.lbaf[index];
  if (format.lbads < kLbadsMin || format.lbads > kLbadsMax) {
    return BadNamespace(nsid, absl::StrFormat("its blocks have 2^%u bytes", format.lbads));
  }
  if (identify.ncap > blocks || blocks > (uint64_t{1} << 63 >> format.lbads)) {
    return BadNamespace(
        nsid, absl::StrFormat("its size is %u blocks of 2^%u bytes, its capacity %u", blocks,
                              format.lbads, uint64_t{identify.ncap}));
  }

  Namespace::Facts facts;
  facts.identify = identify;
  pollux_nvme_namespace_info& info = facts.info;
  info.nsid = nsid;
  info.csi = zoned != nullptr ? kCsiZoned : kCsiNvm;
  info.blocks = blocks;
  info.block_bytes = 1u << format.lbads;
  info.metadata_bytes = format.ms;
  if (info.metadata_bytes > kMetadataMax) {
    return BadNamespace(nsid, absl::StrFormat("%u bytes of metadata", info.metadata_bytes));
  }
  info.metadata_extended = info.metadata_bytes > 0 && (identify.flbas & kFlbasExtended) != 0;
  info.protection_type = identify.dps & 7;
  info.protection_first_bytes = (identify.dps & kDpsFirst) != 0;
  if (info.protection_type > 3 ||
      (info.protection_type > 0 && info.metadata_bytes < kProtectionBytes)) {
    return BadNamespace(nsid, absl::StrFormat("protection type %u with %u bytes of metadata",
                                              info.protection_type, info.metadata_bytes));
  }
  const uint32_t transfer_block =
      info.block_bytes + (info.metadata_extended ? info.metadata_bytes : 0);
  info.transfer_blocks_max = static_cast<uint32_t>(
      std::min<uint64_t>(controller.info.transfer_bytes_max / transfer_block, kTransferBlocksMax));
  if (info.transfer_blocks_max == 0) {
    return BadNamespace(nsid, absl::StrFormat("a block has %u bytes, a transfer at most %u",
                                              transfer_block, controller.info.transfer_bytes_max));
  }
  info.read_only = (identify.nsattr & kNsattrWriteProtected) != 0;
  info.shareable = (identify.nmic & kNmicShared) != 0;
  info.deallocated_reads_zero = (identify.dlfeat & kDlfeatReadMask) == kDlfeatReadsZero;
  info.ana_group = identify.anagrpid;
  FillCommands(identify, controller.identify, info);
  FillLimits(controller, info);
  FillOptimal(identify, info);
  FillAtomics(identify, controller.identify, info);

  memcpy(info.uuid, ids.uuid.data(), sizeof(info.uuid));
  memcpy(info.nguid, AllZero(identify.nguid) ? ids.nguid.data() : identify.nguid,
         sizeof(info.nguid));
  memcpy(info.eui64, AllZero(identify.eui64) ? ids.eui64.data() : identify.eui64,
         sizeof(info.eui64));
  if (zoned != nullptr) RETURN_IF_ERROR(FillZones(nsid, index, *zoned, controller, info));
  return facts;
}

bool SameFormat(const pollux_nvme_namespace_info& was, const pollux_nvme_namespace_info& now) {
  return was.csi == now.csi && was.block_bytes == now.block_bytes &&
         was.metadata_bytes == now.metadata_bytes &&
         was.metadata_extended == now.metadata_extended &&
         was.protection_type == now.protection_type &&
         was.protection_first_bytes == now.protection_first_bytes &&
         was.read_only == now.read_only && was.zone_blocks == now.zone_blocks &&
         was.transfer_blocks_max == now.transfer_blocks_max &&
         memcmp(was.nguid, now.nguid, sizeof(was.nguid)) == 0 &&
         memcmp(was.eui64, now.eui64, sizeof(was.eui64)) == 0 &&
         memcmp(was.uuid, now.uuid, sizeof(was.uuid)) == 0;
}

}  // namespace pollux::nvme
