#include <algorithm>
#include <array>
#include <bit>

#include "absl/strings/str_format.h"
#include "targets/scsi/commands.h"
#include "targets/scsi/copy_plan.h"
#include "targets/scsi/inquiry.h"

// Vital product data. SPC-4 §7.8, SBC-3 §6.6.

namespace pollux::scsi {
// Two 64-bit halves of the UUID folded into 60 bits, "locally assigned" (NAA 3h), since we have no
// company identifier.
uint64_t NaaOf(const Uuid& uuid) {
  uint64_t folded = 0;
  for (size_t i = 0; i < uuid.bytes.size(); ++i) {
    folded ^= uint64_t{uuid.bytes[i]} << (8 * (7 - i % 8));
  }
  return (folded & 0x0fff'ffff'ffff'ffff) | 0x3000'0000'0000'0000;
}

namespace {

struct Page {
  uint8_t code;
  void (*append)(Execution& e, ParameterData& data);
};
std::span<const Page> Pages();

void AppendSupportedPages(Execution& e, ParameterData& data) {
  // A LUN that is not there has this page only.
  if (e.unit() == nullptr) {
    data.Append<uint8_t>(kSupportedVpdPages);
    return;
  }
  for (const Page& page : Pages()) data.Append<uint8_t>(page.code);
}

// The UUID in 32 digits.
void AppendSerialNumber(Execution& e, ParameterData& data) {
  for (const uint8_t byte : e.disk().uuid.bytes) data.AppendText(absl::StrFormat("%02x", byte));
}

enum CodeSet : uint8_t { kBinary = 1, kAscii = 2, kUtf8 = 3 };
enum DesignatorType : uint8_t {
  kT10VendorId = 1,
  kNaa = 3,
  kRelativeTargetPort = 4,
  kTargetPortGroup = 5,
  kScsiName = 8
};
enum Association : uint8_t { kUnit = 0x00, kTargetPort = 0x10, kTargetDevice = 0x20 };
constexpr uint8_t kPiv = 0x80;            // The protocol identifier is valid.
constexpr uint8_t kProtocolIscsi = 0x50;  // In bits 7:4 of the first byte.

// The designator itself is what the caller appends afterwards, `bytes` long.
void AppendDesignator(ParameterData& data, CodeSet code_set, Association association,
                      DesignatorType type, size_t bytes) {
  auto& header = data.Append<DesignatorHeader>();
  header.code_set = code_set;
  header.type = static_cast<uint8_t>(uint8_t{type} | uint8_t{association});
  header.designator_length = static_cast<uint8_t>(bytes);
  if (association != kUnit) {
    header.code_set |= kProtocolIscsi;
    header.type |= kPiv;
  }
}

// Null-terminated, padded to a multiple of four. SPC-4 §7.8.6.11. Names are iqns (at most 223
// bytes) and port suffixes, so the length fits its byte.
void AppendScsiName(ParameterData& data, Association association, std::string_view name) {
  name = name.substr(0, 251);
  const size_t bytes = (name.size() + 4) / 4 * 4;
  AppendDesignator(data, kUtf8, association, kScsiName, bytes);
  data.AppendText(name);
  for (size_t i = name.size(); i < bytes; ++i) data.Append<uint8_t>();
}

void AppendDeviceIdentification(Execution& e, ParameterData& data) {
  const Nexus::Identity& port = e.identity();

  AppendDesignator(data, kBinary, kUnit, kNaa, 8);
  data.Append<Be64>(NaaOf(e.disk().uuid));

  const std::string uuid = e.disk().uuid.ToString();
  AppendDesignator(data, kAscii, kUnit, kT10VendorId, 8 + uuid.size());
  data.AppendText(absl::StrFormat("%-8s", kVendor));
  data.AppendText(uuid);

  AppendDesignator(data, kBinary, kTargetPort, kRelativeTargetPort, 4);
  data.Append<Be32>(port.relative_target_port);
  AppendDesignator(data, kBinary, kTargetPort, kTargetPortGroup, 4);
  data.Append<Be32>(port.target_port_group);

  AppendScsiName(data, kTargetPort, port.target_port);
  AppendScsiName(data, kTargetDevice, e.view().device_name());
}

void AppendExtendedInquiry(Execution&, ParameterData& data) { data.Append<ExtendedInquiryPage>(); }

// All pages are shared. SPC-4 §7.8.9.
void AppendModePagePolicy(Execution&, ParameterData& data) {
  constexpr uint8_t kShared = 0, kAllPages = 0x3f, kAllSubpages = 0xff;
  const std::array<uint8_t, 4> policy{kAllPages, kAllSubpages, kShared, 0};
  data.AppendBytes(policy);
}

void AppendBlockLimits(Execution& e, ParameterData& data) {
  const DiskFacts& disk = e.disk();
  auto& page = data.Append<BlockLimitsPage>();
  page.wsnz = 1;
  if (disk.compare_and_write) {
    page.maximum_compare_and_write_length = static_cast<uint8_t>(CompareAndWriteBlocksMax(e, disk));
  }
  page.optimal_transfer_length_granularity = static_cast<uint16_t>(
      std::min<uint32_t>(disk.limits.preferred_write_granularity_blocks, UINT16_MAX));
  page.optimal_transfer_length = disk.limits.optimal_write_blocks;
  if (disk.unmap) {
    page.maximum_unmap_lba_count = kUnmapBlocksMax;
    page.maximum_unmap_block_descriptor_count = UnmapDescriptorsMax(e);
    page.optimal_unmap_granularity = disk.limits.preferred_unmap_granularity_blocks;
    if (disk.limits.preferred_unmap_granularity_blocks != 0) {
      page.unmap_granularity_alignment =
          0x8000'0000u | disk.limits.preferred_unmap_alignment_blocks;
    }
  }
  page.maximum_write_same_length = kWriteSameBytesMax / disk.block_bytes;
}

void AppendCharacteristics(Execution&, ParameterData& data) {
  data.Append<BlockDeviceCharacteristicsPage>();
}

void AppendProvisioning(Execution& e, ParameterData& data) {
  auto& page = data.Append<LogicalBlockProvisioningPage>();
  if (!e.disk().unmap) return;
  page.flags5 = 0x80 | 0x40 | 0x20;                              // LBPU, LBPWS, LBPWS10
  if (e.disk().limits.unmapped_reads_zero) page.flags5 |= 0x04;  // LBPRZ
  page.provisioning_type = 2;                                    // Thin.
}

// What EXTENDED COPY and RECEIVE COPY RESULTS can do. SPC-4 §7.8.17.
void AppendThirdPartyCopy(Execution& e, ParameterData& data) {
  // SUPPORTED COMMANDS: each opcode, the number of its service actions, and these. Padded.
  constexpr uint8_t kCommandsList[] = {
      kThirdPartyCopyOut, 1, 0x00, kThirdPartyCopyIn, 3, 0x00, 0x03, 0x04,
  };
  data.Append(ThirdPartyCopyDescriptor{uint16_t{0x0001}, uint16_t{12}});
  data.Append<uint8_t>(sizeof(kCommandsList));
  data.AppendBytes(kCommandsList);
  data.Pad4();

  data.Append(ThirdPartyCopyDescriptor{uint16_t{0x0004}, uint16_t{sizeof(ThirdPartyParameters)}});
  auto& parameters = data.Append<ThirdPartyParameters>();
  parameters.maximum_cscd_descriptor_count = uint16_t{CopyPlan::kCscdsMax};
  parameters.maximum_segment_descriptor_count = uint16_t{CopyPlan::kSegmentsMax};
  parameters.maximum_descriptor_list_length = CopyPlan::kDescriptorBytesMax;

  // SUPPORTED DESCRIPTORS.
  data.Append(ThirdPartyCopyDescriptor{uint16_t{0x0008}, uint16_t{4}});
  data.AppendBytes(std::array<uint8_t, 4>{2, kBlockToBlockSegment, kIdentificationCscd, 0});

  // SUPPORTED CSCD IDS beside those of the list.
  data.Append(ThirdPartyCopyDescriptor{uint16_t{0x000c}, uint16_t{4}});
  data.Append<Be16>(uint16_t{2});
  data.Append<Be16>(CopyPlan::kThisUnit);

  data.Append(ThirdPartyCopyDescriptor{uint16_t{0x8001}, uint16_t{sizeof(GeneralCopyOperations)}});
  auto& general = data.Append<GeneralCopyOperations>();
  general.total_concurrent_copies = uint32_t{kConcurrentCopiesMax};
  general.maximum_identified_concurrent_copies = uint32_t{kConcurrentCopiesMax};
  general.maximum_segment_length = CopySegmentBytesMax(e.disk());
  general.data_segment_granularity = static_cast<uint8_t>(std::countr_zero(e.disk().block_bytes));
}

constexpr Page kPages[] = {
    {kSupportedVpdPages, AppendSupportedPages},
    {kUnitSerialNumber, AppendSerialNumber},
    {kDeviceIdentification, AppendDeviceIdentification},
    {kExtendedInquiryData, AppendExtendedInquiry},
    {kModePagePolicy, AppendModePagePolicy},
    {kThirdPartyCopy, AppendThirdPartyCopy},
    {kBlockLimits, AppendBlockLimits},
    {kBlockDeviceCharacteristics, AppendCharacteristics},
    {kLogicalBlockProvisioning, AppendProvisioning},
};
std::span<const Page> Pages() { return kPages; }

}  // namespace

bool AppendVpdPage(Execution& e, uint8_t page_code, ParameterData& data) {
  if (e.unit() == nullptr && page_code != kSupportedVpdPages) return false;
  for (const Page& page : Pages()) {
    if (page.code != page_code) continue;
    auto& header = data.Append<VpdHeader>();
    header.peripheral = e.unit() == nullptr ? kNoSuchUnit : 0;
    header.page_code = page_code;
    page.append(e, data);
    header.page_length = static_cast<uint16_t>(data.size() - sizeof(header));
    return true;
  }
  return false;
}

}  // namespace pollux::scsi
