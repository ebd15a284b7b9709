// SCSI: SAM-5 revision 21, SPC-4 revision 37, SBC-3 revision 36. Field names are the
// specifications' own, in lower case. Nothing here has behaviour.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/wire_int.h"

namespace pollux::scsi {

// SPC-4 annex E, SBC-3 annex A.
enum Opcode : uint8_t {
  kTestUnitReady = 0x00,
  kRequestSense = 0x03,
  kRead6 = 0x08,
  kWrite6 = 0x0a,
  kInquiry = 0x12,
  kModeSelect6 = 0x15,
  kReserve6 = 0x16,
  kRelease6 = 0x17,
  kModeSense6 = 0x1a,
  kStartStopUnit = 0x1b,
  kSendDiagnostic = 0x1d,
  kPreventAllowMediumRemoval = 0x1e,
  kReadCapacity10 = 0x25,
  kRead10 = 0x28,
  kWrite10 = 0x2a,
  kWriteAndVerify10 = 0x2e,
  kVerify10 = 0x2f,
  kPreFetch10 = 0x34,
  kSynchronizeCache10 = 0x35,
  kReadDefectData10 = 0x37,
  kWriteSame10 = 0x41,
  kUnmap = 0x42,
  kSanitize = 0x48,
  kModeSelect10 = 0x55,
  kReserve10 = 0x56,
  kRelease10 = 0x57,
  kModeSense10 = 0x5a,
  kPersistentReserveIn = 0x5e,
  kPersistentReserveOut = 0x5f,
  kThirdPartyCopyOut = 0x83,
  kThirdPartyCopyIn = 0x84,
  kRead16 = 0x88,
  kCompareAndWriteOpcode = 0x89,
  kWrite16 = 0x8a,
  kOrWrite16 = 0x8b,
  kWriteAndVerify16 = 0x8e,
  kVerify16 = 0x8f,
  kPreFetch16 = 0x90,
  kSynchronizeCache16 = 0x91,
  kWriteSame16 = 0x93,
  kServiceActionIn16 = 0x9e,
  kReportLuns = 0xa0,
  kMaintenanceIn = 0xa3,
  kRead12 = 0xa8,
  kWrite12 = 0xaa,
  kWriteAndVerify12 = 0xae,
  kVerify12 = 0xaf,
  kReadDefectData12 = 0xb7,
};
inline constexpr uint8_t kReadCapacity16Action = 0x10;            // Of SERVICE ACTION IN(16).
inline constexpr uint8_t kGetLbaStatusAction = 0x12;              // Likewise.
inline constexpr uint8_t kReportTargetPortGroups = 0x0a;          // Of MAINTENANCE IN.
inline constexpr uint8_t kReportSupportedOpcodesAction = 0x0c;    // Of MAINTENANCE IN.
inline constexpr uint8_t kReportSupportedFunctionsAction = 0x0d;  // Of MAINTENANCE IN.
inline constexpr uint8_t kServiceActionMask = 0x1f;               // In byte 1 of the CDB.
inline constexpr uint8_t kNaca = 0x04;  // In the CONTROL byte. SAM-5 §5.2.

// Byte 1 of READ, WRITE, VERIFY and WRITE SAME. SBC-3 §5.
inline constexpr uint8_t kProtectMask = 0xe0;  // RDPROTECT, WRPROTECT, VRPROTECT.
inline constexpr uint8_t kFua = 0x08;
inline constexpr uint8_t kBytchkMask = 0x06;  // VERIFY.
inline constexpr uint8_t kAnchor = 0x10;      // WRITE SAME.
inline constexpr uint8_t kUnmapBit = 0x08;    // WRITE SAME.
inline constexpr uint8_t kPbdata = 0x04;      // WRITE SAME; obsolete.
inline constexpr uint8_t kLbdata = 0x02;      // WRITE SAME; obsolete.
inline constexpr uint8_t kNdob = 0x01;        // WRITE SAME(16).

// SPC-4 §4.5.6.
enum class SenseKey : uint8_t {
  kNoSense = 0x0,
  kNotReady = 0x2,
  kMediumError = 0x3,
  kHardwareError = 0x4,
  kIllegalRequest = 0x5,
  kUnitAttention = 0x6,
  kDataProtect = 0x7,
  kCopyAborted = 0xa,
  kAbortedCommand = 0xb,
  kMiscompare = 0xe,
};

// SPC-4 §4.5.3.
struct FixedSense {
  uint8_t response_code = 0x70;  // Current; bit 7 is VALID.
  uint8_t obsolete = 0;
  uint8_t sense_key = 0;
  Be32 information;
  uint8_t additional_length = 10;
  Be32 command_specific_information;
  uint8_t asc = 0, ascq = 0;
  uint8_t fru = 0;
  uint8_t sks[3] = {};
};
static_assert(sizeof(FixedSense) == 18);
static_assert(offsetof(FixedSense, asc) == 12);

// SPC-4 §4.5.2.
struct DescriptorSense {
  uint8_t response_code = 0x72;
  uint8_t sense_key = 0;
  uint8_t asc = 0, ascq = 0;
  uint8_t reserved[3] = {};
  uint8_t additional_length = 0;
};
static_assert(sizeof(DescriptorSense) == 8);
struct InformationDescriptor {
  uint8_t type = 0x00;
  uint8_t additional_length = 0x0a;
  uint8_t valid = 0x80;
  uint8_t reserved = 0;
  Be64 information;
};
static_assert(sizeof(InformationDescriptor) == 12);
struct CommandSpecificDescriptor {
  uint8_t type = 0x01;
  uint8_t additional_length = 0x0a;
  uint8_t reserved[2] = {};
  Be64 command_specific_information;
};
static_assert(sizeof(CommandSpecificDescriptor) == 12);
struct SenseKeySpecificDescriptor {
  uint8_t type = 0x02;
  uint8_t additional_length = 0x06;
  uint8_t reserved[2] = {};
  uint8_t sks[3] = {};
  uint8_t reserved2 = 0;
};
static_assert(sizeof(SenseKeySpecificDescriptor) == 8);

// SPC-4 §6.6.2.
struct StandardInquiry {
  uint8_t peripheral = 0;  // Qualifier in bits 7:5, device type in 4:0.
  uint8_t rmb = 0;
  uint8_t version = 0x06;  // SPC-4.
  uint8_t format = 0x12;   // HISUP, RESPONSE DATA FORMAT 2.
  uint8_t additional_length = 91;
  uint8_t flags5 = 0;  // SCCS, TPGS, 3PC, PROTECT.
  uint8_t flags6 = 0;
  uint8_t flags7 = 0x02;  // CMDQUE.
  uint8_t vendor[8] = {};
  uint8_t product[16] = {};
  uint8_t revision[4] = {};
  uint8_t vendor_specific[20] = {};
  uint8_t reserved[2] = {};
  Be16 version_descriptors[8];
  uint8_t reserved2[22] = {};
};
static_assert(sizeof(StandardInquiry) == 96);
static_assert(offsetof(StandardInquiry, version_descriptors) == 58);
inline constexpr uint8_t kNoSuchUnit = 0x7f;  // Qualifier 3, type 1Fh.

enum VpdPage : uint8_t {
  kSupportedVpdPages = 0x00,
  kUnitSerialNumber = 0x80,
  kDeviceIdentification = 0x83,
  kExtendedInquiryData = 0x86,
  kModePagePolicy = 0x87,
  kThirdPartyCopy = 0x8f,
  kBlockLimits = 0xb0,
  kBlockDeviceCharacteristics = 0xb1,
  kLogicalBlockProvisioning = 0xb2,
};
struct VpdHeader {
  uint8_t peripheral = 0;
  uint8_t page_code = 0;
  Be16 page_length;
};
static_assert(sizeof(VpdHeader) == 4);

// SPC-4 §7.8.6.
struct DesignatorHeader {
  uint8_t code_set = 0;  // Protocol identifier in bits 7:4; 1 binary, 2 ASCII, 3 UTF-8.
  uint8_t type = 0;      // PIV in bit 7, association in 5:4.
  uint8_t reserved = 0;
  uint8_t designator_length = 0;
};
static_assert(sizeof(DesignatorHeader) == 4);

// SPC-4 §7.8.7.
struct ExtendedInquiryPage {
  uint8_t activate = 0;
  uint8_t flags5 = 0x05;  // HEADSUP, SIMPSUP.
  uint8_t flags6 = 0;
  uint8_t flags7 = 0x01;  // LUICLR: REPORTED LUNS DATA HAS CHANGED is reported once per nexus.
  uint8_t reserved[56] = {};
};
static_assert(sizeof(ExtendedInquiryPage) == 60);

// SBC-3 §6.6.4.
struct BlockLimitsPage {
  uint8_t wsnz = 0;
  uint8_t maximum_compare_and_write_length = 0;
  Be16 optimal_transfer_length_granularity;
  Be32 maximum_transfer_length;
  Be32 optimal_transfer_length;
  Be32 maximum_prefetch_length;
  Be32 maximum_unmap_lba_count;
  Be32 maximum_unmap_block_descriptor_count;
  Be32 optimal_unmap_granularity;
  Be32 unmap_granularity_alignment;  // Bit 31 is UGAVALID.
  Be64 maximum_write_same_length;
  uint8_t reserved[20] = {};
};
static_assert(sizeof(BlockLimitsPage) == 0x3c);
static_assert(offsetof(BlockLimitsPage, maximum_write_same_length) == 32);

// SBC-3 §6.6.3.
struct BlockDeviceCharacteristicsPage {
  Be16 medium_rotation_rate = uint16_t{1};  // Does not rotate.
  uint8_t reserved[58] = {};
};
static_assert(sizeof(BlockDeviceCharacteristicsPage) == 60);

// SBC-3 §6.6.5.
struct LogicalBlockProvisioningPage {
  uint8_t threshold_exponent = 0;
  uint8_t flags5 = 0;  // LBPU 80h, LBPWS 40h, LBPWS10 20h, LBPRZ 04h.
  uint8_t provisioning_type = 0;
  uint8_t reserved = 0;
};
static_assert(sizeof(LogicalBlockProvisioningPage) == 4);

// SBC-3 §5.12, §5.13.
struct ReadCapacity10Data {
  Be32 returned_lba;
  Be32 block_length;
};
static_assert(sizeof(ReadCapacity10Data) == 8);
struct ReadCapacity16Data {
  Be64 returned_lba;
  Be32 block_length;
  uint8_t protection = 0;
  uint8_t exponents = 0;  // LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT in bits 3:0.
  Be16 provisioning;      // LBPME 8000h, LBPRZ 4000h, LOWEST ALIGNED LBA.
  uint8_t reserved[16] = {};
};
static_assert(sizeof(ReadCapacity16Data) == 32);

// SBC-3 §5.29.2. The initialization pattern follows.
struct SanitizeOverwriteList {
  uint8_t flags0 = 0;  // INVERT 80h, TEST 60h, OVERWRITE COUNT 1Fh.
  uint8_t reserved = 0;
  Be16 initialization_pattern_length;
};
static_assert(sizeof(SanitizeOverwriteList) == 4);

// EXTENDED COPY(LID1). SPC-4 §6.4.
struct ExtendedCopyHeader {
  uint8_t list_identifier = 0;
  uint8_t flags1 = 0;  // STR 20h, LIST ID USAGE 18h, PRIORITY 07h.
  Be16 cscd_descriptor_list_length;
  uint8_t reserved[4] = {};
  Be32 segment_descriptor_list_length;
  Be32 inline_data_length;
};
static_assert(sizeof(ExtendedCopyHeader) == 16);

// SPC-4 §6.4.5.2, of block devices.
inline constexpr uint8_t kIdentificationCscd = 0xe4;
struct IdentificationCscd {
  uint8_t type_code = kIdentificationCscd;
  uint8_t flags1 = 0;  // LU ID TYPE C0h and NUL 20h (ignored), PERIPHERAL DEVICE TYPE 1Fh.
  Be16 relative_initiator_port;
  uint8_t code_set = 0;
  uint8_t designator_type = 0;  // ASSOCIATION 30h.
  uint8_t reserved = 0;
  uint8_t designator_length = 0;
  uint8_t designator[20] = {};
  uint8_t flags28 = 0;  // PAD 04h.
  Be24 block_length;
};
static_assert(sizeof(IdentificationCscd) == 32);

// SPC-4 §6.4.6.3.
inline constexpr uint8_t kBlockToBlockSegment = 0x02;
struct BlockToBlockSegment {
  uint8_t type_code = kBlockToBlockSegment;
  uint8_t flags1 = 0;  // DC 02h, CAT 01h.
  Be16 descriptor_length = uint16_t{24};
  Be16 source_cscd;
  Be16 destination_cscd;
  uint8_t reserved[2] = {};
  Be16 number_of_blocks;
  Be64 source_lba;
  Be64 destination_lba;
};
static_assert(sizeof(BlockToBlockSegment) == 28);

// REPORT TARGET PORT GROUPS. SPC-4 §6.36, with one port.
struct TargetPortGroupDescriptor {
  uint8_t state = 0;  // PREF 80h, ASYMMETRIC ACCESS STATE 0Fh.
  uint8_t supported =
      0;  // T_SUP 80h, O_SUP 40h, LBD_SUP 10h, U_SUP 08h, S_SUP 04h, AN_SUP 02h, AO_SUP 01h.
  Be16 target_port_group;
  uint8_t reserved4 = 0;
  uint8_t status_code = 0;
  uint8_t vendor_specific = 0;
  uint8_t target_port_count = 0;
};
static_assert(sizeof(TargetPortGroupDescriptor) == 8);
struct TargetPortDescriptor {
  uint8_t obsolete[2] = {};
  Be16 relative_target_port;
};
static_assert(sizeof(TargetPortDescriptor) == 4);

// RECEIVE COPY RESULTS(LID1). SPC-4 §6.19, §6.21, §6.22.
struct CopyStatusData {
  Be32 available_data;
  uint8_t copy_manager_status = 0;  // HDD 80h.
  Be16 segments_processed;
  uint8_t transfer_count_units = 0;
  Be32 transfer_count;
};
static_assert(sizeof(CopyStatusData) == 12);
struct CopyOperatingParameters {
  Be32 available_data;
  uint8_t flags4 = 0;  // SNLID 01h.
  uint8_t reserved5[3] = {};
  Be16 maximum_cscd_descriptor_count;
  Be16 maximum_segment_descriptor_count;
  Be32 maximum_descriptor_list_length;
  Be32 maximum_segment_length;
  Be32 maximum_inline_data_length;
  Be32 held_data_limit;
  Be32 maximum_stream_device_transfer_size;
  uint8_t reserved32[2] = {};
  Be16 total_concurrent_copies;
  uint8_t maximum_concurrent_copies = 0;
  uint8_t data_segment_granularity = 0;
  uint8_t inline_data_granularity = 0;
  uint8_t held_data_granularity = 0;
  uint8_t reserved40[3] = {};
  uint8_t implemented_descriptor_list_length = 0;
};
static_assert(sizeof(CopyOperatingParameters) == 44);
struct FailedSegmentDetails {
  Be32 available_data;
  uint8_t reserved4[52] = {};
  uint8_t status = 0;
  uint8_t reserved57 = 0;
  Be16 sense_data_length;
};
static_assert(sizeof(FailedSegmentDetails) == 60);

// Of the Third-party Copy VPD page. SPC-4 §7.8.17.
struct ThirdPartyCopyDescriptor {
  Be16 type;
  Be16 length;  // Of what follows, a multiple of four.
};
struct ThirdPartyParameters {
  uint8_t reserved0[4] = {};
  Be16 maximum_cscd_descriptor_count;
  Be16 maximum_segment_descriptor_count;
  Be32 maximum_descriptor_list_length;
  Be32 maximum_inline_data_length;
  uint8_t reserved16[12] = {};
};
static_assert(sizeof(ThirdPartyParameters) == 28);
struct GeneralCopyOperations {
  Be32 total_concurrent_copies;
  Be32 maximum_identified_concurrent_copies;
  Be32 maximum_segment_length;
  uint8_t data_segment_granularity = 0;
  uint8_t inline_data_granularity = 0;
  uint8_t reserved14[18] = {};
};
static_assert(sizeof(GeneralCopyOperations) == 32);

// SBC-3 §5.3.2, with one descriptor.
struct LbaStatusData {
  Be32 parameter_data_length;  // Of what follows.
  Be32 reserved;
  Be64 lba;
  Be32 blocks;
  uint8_t provisioning_status = 0;  // 0: mapped, or not known.
  uint8_t reserved2[3] = {};
};
static_assert(sizeof(LbaStatusData) == 24);

// SPC-4 §7.5, SBC-3 §6.5.
struct ModeHeader6 {
  uint8_t mode_data_length = 0;
  uint8_t medium_type = 0;
  uint8_t device_specific = 0;  // WP 80h, DPOFUA 10h.
  uint8_t block_descriptor_length = 0;
};
static_assert(sizeof(ModeHeader6) == 4);
struct ModeHeader10 {
  Be16 mode_data_length;
  uint8_t medium_type = 0;
  uint8_t device_specific = 0;
  uint8_t longlba = 0;
  uint8_t reserved = 0;
  Be16 block_descriptor_length;
};
static_assert(sizeof(ModeHeader10) == 8);
struct BlockDescriptor {
  Be32 number_of_blocks;
  uint8_t reserved = 0;
  Be24 block_length;
};
static_assert(sizeof(BlockDescriptor) == 8);
struct LongBlockDescriptor {
  Be64 number_of_blocks;
  Be32 reserved;
  Be32 block_length;
};
static_assert(sizeof(LongBlockDescriptor) == 16);
struct CachingPage {
  uint8_t page_code = 0x08;
  uint8_t page_length = 0x12;
  uint8_t flags2 = 0;  // WCE 04h.
  uint8_t rest[17] = {};
};
static_assert(sizeof(CachingPage) == 20);
struct ControlPage {
  uint8_t page_code = 0x0a;
  uint8_t page_length = 0x0a;
  uint8_t flags2 = 0;  // D_SENSE 04h, GLTSD 02h.
  uint8_t flags3 = 0;  // QUEUE ALGORITHM MODIFIER in bits 7:4.
  uint8_t flags4 = 0;  // SWP 08h.
  uint8_t flags5 = 0;  // TAS 40h.
  uint8_t obsolete[2] = {};
  Be16 busy_timeout_period;
  Be16 extended_self_test_completion_time;
};
static_assert(sizeof(ControlPage) == 12);
struct InformationalExceptionsPage {
  uint8_t page_code = 0x1c;
  uint8_t page_length = 0x0a;
  uint8_t flags2 = 0;  // DEXCPT 08h.
  uint8_t mrie = 0;
  Be32 interval_timer;
  Be32 report_count;
};
static_assert(sizeof(InformationalExceptionsPage) == 12);

// Service actions of PERSISTENT RESERVE OUT. SPC-4 §6.14.
enum PersistentReserveOutAction : uint8_t {
  kRegisterAction = 0,
  kReserveAction = 1,
  kReleaseAction = 2,
  kClearAction = 3,
  kPreemptAction = 4,
  kPreemptAndAbortAction = 5,
  kRegisterAndIgnoreAction = 6,
  kRegisterAndMoveAction = 7,
};
// SPC-4 §6.14.3.
struct PersistentReserveOutList {
  Be64 reservation_key;
  Be64 service_action_reservation_key;
  Be32 obsolete;
  uint8_t flags20 = 0;  // SPEC_I_PT 08h, ALL_TG_PT 04h, APTPL 01h.
  uint8_t reserved = 0;
  Be16 obsolete22;
};
static_assert(sizeof(PersistentReserveOutList) == 24);
// SPC-4 §6.14.4.
struct RegisterAndMoveList {
  Be64 reservation_key;
  Be64 service_action_reservation_key;
  uint8_t reserved = 0;
  uint8_t flags17 = 0;  // UNREG 02h, APTPL 01h.
  Be16 relative_target_port;
  Be32 transport_id_length;
};
static_assert(sizeof(RegisterAndMoveList) == 24);
// SPC-4 §6.13.
struct PersistentReserveInHeader {
  Be32 prgeneration;
  Be32 additional_length;
};
static_assert(sizeof(PersistentReserveInHeader) == 8);
struct ReservationDescriptor {
  Be64 reservation_key;
  Be32 obsolete;
  uint8_t reserved = 0;
  uint8_t scope_type = 0;
  Be16 obsolete14;
};
static_assert(sizeof(ReservationDescriptor) == 16);
struct ReservationCapabilities {
  Be16 length = uint16_t{8};
  uint8_t flags2 = 0;  // CRH 10h, SIP_C 08h, ATP_C 04h, PTPL_C 01h.
  uint8_t flags3 = 0;  // TMV 80h, PTPL_A 01h.
  uint8_t types[2] = {};
  uint8_t reserved[2] = {};
};
static_assert(sizeof(ReservationCapabilities) == 8);
struct FullStatusDescriptor {
  Be64 reservation_key;
  Be32 reserved;
  uint8_t flags12 = 0;  // ALL_TG_PT 02h, R_HOLDER 01h.
  uint8_t scope_type = 0;
  Be32 reserved14;
  Be16 relative_target_port;
  Be32 additional_length;  // Of the TransportID that follows.
};
static_assert(sizeof(FullStatusDescriptor) == 24);

// SBC-3 §5.28.
struct UnmapHeader {
  Be16 data_length;
  Be16 block_descriptor_data_length;
  Be32 reserved;
};
static_assert(sizeof(UnmapHeader) == 8);
struct UnmapDescriptor {
  Be64 lba;
  Be32 blocks;
  Be32 reserved;
};
static_assert(sizeof(UnmapDescriptor) == 16);

// SPC-4 §6.36.2, §6.36.3.
struct CommandDescriptor {
  uint8_t opcode = 0;
  uint8_t reserved = 0;
  Be16 service_action;
  uint8_t reserved4 = 0;
  uint8_t flags5 = 0;  // CTDP 02h, SERVACTV 01h.
  Be16 cdb_length;
};
static_assert(sizeof(CommandDescriptor) == 8);
struct CommandTimeouts {
  Be16 descriptor_length = uint16_t{0x0a};
  uint8_t reserved = 0;
  uint8_t command_specific = 0;
  Be32 nominal_processing_timeout;
  Be32 recommended_timeout;
};
static_assert(sizeof(CommandTimeouts) == 12);

}  // namespace pollux::scsi
