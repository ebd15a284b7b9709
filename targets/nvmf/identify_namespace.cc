#include <algorithm>

#include "targets/nvmf/controller.h"
#include "targets/nvmf/parameter_data.h"
#include "targets/nvmf/queue.h"

// What Identify says of a namespace. NVM figure 97, Base figures 278, 280

namespace pollux::nvmf {
namespace {

constexpr uint8_t kAtomicFieldsAreOwn = 1 << 1, kOptimalFieldsAreThere = 1 << 4;  // NSFEAT
constexpr uint8_t kMetadataAtBlock = 1 << 4;                                      // FLBAS
constexpr uint8_t kMcAtBlock = 1 << 0;                                            // MC
constexpr uint8_t kProtectionFirst = 1 << 3;                                      // DPC, DPS
constexpr uint8_t kProtectionLast = 1 << 4;                                       // DPC
constexpr uint8_t kShared = 1 << 0;                                               // NMIC
constexpr uint8_t kWriteProtected = 1 << 0;                                       // NSATTR
constexpr uint8_t kDeallocatedReadsZero = 1, kWriteZeroesDeallocates = 1 << 3;    // DLFEAT
constexpr uint8_t kReady = 1 << 0;                                                // NSTAT

uint8_t NsattrOf(const NamespaceFacts& facts) { return facts.IsWritable() ? 0 : kWriteProtected; }

// Capsules carry metadata only with its block. A disk that keeps it apart is served without.
void FillFormat(nvme::IdentifyNamespace& data, const Geometry& geometry) {
  data.lbaf[0].lbads = Log2(geometry.block_bytes);
  if (geometry.metadata_bytes == 0 || !geometry.metadata_interleaved) return;
  data.lbaf[0].ms = static_cast<uint16_t>(geometry.metadata_bytes);
  data.flbas = kMetadataAtBlock;
  data.mc = kMcAtBlock;
  if (geometry.protection_type == 0) return;
  data.dpc = static_cast<uint8_t>(1 << (geometry.protection_type - 1) |
                                  (geometry.protection_first ? kProtectionFirst : kProtectionLast));
  data.dps = static_cast<uint8_t>(geometry.protection_type |
                                  (geometry.protection_first ? kProtectionFirst : 0));
}

// Only what the disk says; 0's based, where the others' flag says that they count.
void FillPreferences(nvme::IdentifyNamespace& data, const NamespaceFacts& facts) {
  const Geometry& geometry = facts.geometry;
  const Limits& limits = facts.limits;
  if (geometry.optimal_boundary_blocks <= UINT16_MAX) {
    data.noiob = static_cast<uint16_t>(geometry.optimal_boundary_blocks);
  }
  const uint32_t physical_blocks = geometry.physical_block_bytes / geometry.block_bytes;
  const uint32_t granularity = std::max(limits.preferred_write_granularity_blocks, physical_blocks);
  const uint32_t alignment = std::max(limits.preferred_write_alignment_blocks, physical_blocks);
  const bool said = granularity > 1 || alignment > 1 || limits.optimal_write_blocks > 1 ||
                    limits.preferred_unmap_granularity_blocks > 1 ||
                    limits.preferred_unmap_alignment_blocks > 1;
  if (!said) return;
  data.nsfeat |= kOptimalFieldsAreThere;
  data.npwg = ZeroBased16(granularity);
  data.npwa = ZeroBased16(alignment);
  data.npdg = ZeroBased16(limits.preferred_unmap_granularity_blocks);
  data.npda = ZeroBased16(limits.preferred_unmap_alignment_blocks);
  data.nows = ZeroBased16(limits.optimal_write_blocks);
}

// The one thing that is atomic beyond a block.
void FillAtomicity(nvme::IdentifyNamespace& data, const NamespaceFacts& facts) {
  if (facts.FusedBlocksMax() == 0) return;
  data.nsfeat |= kAtomicFieldsAreOwn;
  data.nacwu = ZeroBased16(facts.FusedBlocksMax());
}

void Append(std::string& data, uint8_t type, const void* identifier, uint8_t bytes) {
  nvme::NamespaceDescriptor descriptor{};
  descriptor.nidt = type;
  descriptor.nidl = bytes;
  AppendBytes(data, descriptor);
  data.append(static_cast<const char*>(identifier), bytes);
}

template <typename T>
bool IsZero(const T& identifier) {
  return std::all_of(identifier.begin(), identifier.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

std::string Controller::IdentifyNamespace(const NamespaceView& ns) const {
  const NamespaceFacts& facts = *ns.facts;
  Page<nvme::IdentifyNamespace> page;
  nvme::IdentifyNamespace& data = *page;
  const uint64_t blocks = ns.channel->blocks();
  data.nsze = blocks;
  data.ncap = blocks;
  // Of a namespace that cannot be reached this way it is not said. Base §8.1.3.3
  if (IsReachable(facts.anagrpid)) data.nuse = blocks;
  FillFormat(data, facts.geometry);
  FillPreferences(data, facts);
  FillAtomicity(data, facts);
  if (view_.facts().multipath) data.nmic = kShared;
  if (facts.limits.unmapped_reads_zero) {
    data.dlfeat = kDeallocatedReadsZero;
    if (facts.unmap && facts.write_zeroes) data.dlfeat |= kWriteZeroesDeallocates;
  }
  data.mssrl = facts.CopyRangeBlocksMax();
  data.mcl = facts.CopyBlocksMax();
  data.msrc = NamespaceFacts::kCopyRangesMax - 1;
  if (view_.facts().ana_reporting) data.anagrpid = facts.anagrpid;
  data.nsattr = NsattrOf(facts);
  std::copy(facts.nguid.begin(), facts.nguid.end(), data.nguid);
  std::copy(facts.eui64.begin(), facts.eui64.end(), data.eui64);
  return page.Take();
}

std::string Controller::IdentifyIndependent(const NamespaceView& ns) const {
  const NamespaceFacts& facts = *ns.facts;
  Page<nvme::IndependentNamespace> page;
  nvme::IndependentNamespace& data = *page;
  if (view_.facts().multipath) data.nmic = kShared;
  if (view_.facts().ana_reporting) data.anagrpid = facts.anagrpid;
  data.nsattr = NsattrOf(facts);
  data.nstat = kReady;
  return page.Take();
}

std::string Controller::NamespaceDescriptors(const NamespaceView& ns) const {
  const NamespaceFacts& facts = *ns.facts;
  std::string data;
  if (!IsZero(facts.uuid.bytes)) Append(data, nvme::kNidtUuid, facts.uuid.bytes.data(), 16);
  if (!IsZero(facts.nguid)) Append(data, nvme::kNidtNguid, facts.nguid.data(), 16);
  if (!IsZero(facts.eui64)) Append(data, nvme::kNidtEui64, facts.eui64.data(), 8);
  Append(data, nvme::kNidtCsi, &nvme::kCsiNvm, 1);
  data.resize(sizeof(nvme::IdentifyNamespace));
  return data;
}

}  // namespace pollux::nvmf
