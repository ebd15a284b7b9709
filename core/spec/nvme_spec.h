// NVM Express Base Specification 2.0c; NVM Command Set 1.0c; Zoned Namespace Command Set 1.1c.
// Names are theirs, in lower case, so that a reader can search the documents for them. No
// behaviour.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/mmio.h"
#include "core/wire_int.h"

namespace pollux::nvme {

// --- Registers of a memory-based controller. Base §3.1.3, figure 35.
inline constexpr Reg<uint64_t> kCap{0x00};      // Controller Capabilities
inline constexpr Reg<uint32_t> kVs{0x08};       // Version
inline constexpr Reg<uint32_t> kIntms{0x0c};    // Interrupt Mask Set
inline constexpr Reg<uint32_t> kIntmc{0x10};    // Interrupt Mask Clear
inline constexpr Reg<uint32_t> kCc{0x14};       // Controller Configuration
inline constexpr Reg<uint32_t> kCsts{0x1c};     // Controller Status
inline constexpr Reg<uint32_t> kNssr{0x20};     // NVM Subsystem Reset
inline constexpr Reg<uint32_t> kAqa{0x24};      // Admin Queue Attributes
inline constexpr Reg<uint64_t> kAsq{0x28};      // Admin Submission Queue Base Address
inline constexpr Reg<uint64_t> kAcq{0x30};      // Admin Completion Queue Base Address
inline constexpr Reg<uint32_t> kCmbloc{0x38};   // Controller Memory Buffer Location
inline constexpr Reg<uint32_t> kCmbsz{0x3c};    // Controller Memory Buffer Size
inline constexpr Reg<uint64_t> kCmbmsc{0x50};   // CMB Memory Space Control
inline constexpr Reg<uint32_t> kCmbsts{0x58};   // CMB Status
inline constexpr Reg<uint32_t> kCrto{0x68};     // Controller Ready Timeouts
inline constexpr uint64_t kDoorbells = 0x1000;  // SQ 0 Tail; then CQ 0 Head, SQ 1 Tail, ...

namespace cap {
inline constexpr Field<uint64_t> kMqes{0, 16};  // Maximum Queue Entries Supported, 0's based
inline constexpr Field<uint64_t> kCqr{16, 1};   // Contiguous Queues Required
inline constexpr Field<uint64_t> kAms{17, 2};   // Arbitration: bit 0 weighted round robin, 1 vendor
inline constexpr Field<uint64_t> kTo{24, 8};    // Timeout, in units of 500 ms
inline constexpr Field<uint64_t> kDstrd{32, 4};   // Doorbell Stride, 4 << dstrd bytes
inline constexpr Field<uint64_t> kNssrs{36, 1};   // NVM Subsystem Reset Supported
inline constexpr Field<uint64_t> kCss{37, 8};     // Command sets: bit 0 NVM, 6 I/O sets, 7 none
inline constexpr Field<uint64_t> kMpsmin{48, 4};  // Memory Page Size Minimum, 4096 << mpsmin
inline constexpr Field<uint64_t> kMpsmax{52, 4};  // Memory Page Size Maximum
inline constexpr Field<uint64_t> kPmrs{56, 1};    // Persistent Memory Region Supported
inline constexpr Field<uint64_t> kCmbs{57, 1};    // Controller Memory Buffer Supported
inline constexpr Field<uint64_t> kCrms{59, 2};    // Ready modes: bit 0 with media, 1 independent
}  // namespace cap

namespace vs {
inline constexpr Field<uint32_t> kTertiary{0, 8};
inline constexpr Field<uint32_t> kMinor{8, 8};
inline constexpr Field<uint32_t> kMajor{16, 16};
}  // namespace vs

namespace cc {
inline constexpr Field<uint32_t> kEn{0, 1};       // Enable
inline constexpr Field<uint32_t> kCss{4, 3};      // 0 NVM, 6 all I/O command sets, 7 admin only
inline constexpr Field<uint32_t> kMps{7, 4};      // Memory Page Size, 4096 << mps
inline constexpr Field<uint32_t> kAms{11, 3};     // 0 round robin, 1 weighted
inline constexpr Field<uint32_t> kShn{14, 2};     // Shutdown Notification: 1 normal, 2 abrupt
inline constexpr Field<uint32_t> kIosqes{16, 4};  // Log2 of the submission entry's bytes: 6
inline constexpr Field<uint32_t> kIocqes{20, 4};  // Of the completion entry's: 4
}  // namespace cc

namespace csts {
inline constexpr Field<uint32_t> kRdy{0, 1};    // Ready
inline constexpr Field<uint32_t> kCfs{1, 1};    // Controller Fatal Status
inline constexpr Field<uint32_t> kShst{2, 2};   // Shutdown Status: 0 none, 1 occurring, 2 complete
inline constexpr Field<uint32_t> kNssro{4, 1};  // NVM Subsystem Reset Occurred; written 1 to clear
inline constexpr Field<uint32_t> kPp{5, 1};     // Processing Paused
}  // namespace csts

namespace aqa {
inline constexpr Field<uint32_t> kAsqs{0, 12};   // Admin Submission Queue Size, 0's based
inline constexpr Field<uint32_t> kAcqs{16, 12};  // Admin Completion Queue Size, 0's based
}  // namespace aqa

namespace cmbloc {
inline constexpr Field<uint32_t> kBir{0, 3};     // The BAR
inline constexpr Field<uint32_t> kOfst{12, 20};  // Offset, in units of cmbsz.szu
}  // namespace cmbloc
namespace cmbsz {
inline constexpr Field<uint32_t> kSqs{0, 1};    // Submission queues may lie there
inline constexpr Field<uint32_t> kCqs{1, 1};    // Completion queues
inline constexpr Field<uint32_t> kLists{2, 1};  // PRP lists and SGL segments
inline constexpr Field<uint32_t> kRds{3, 1};    // Read data
inline constexpr Field<uint32_t> kWds{4, 1};    // Write data
inline constexpr Field<uint32_t> kSzu{8, 4};    // Unit: 4 KiB << 4 * szu
inline constexpr Field<uint32_t> kSz{12, 20};   // Size in units
}  // namespace cmbsz
namespace cmbmsc {
inline constexpr Field<uint64_t> kCre{0, 1};    // Capabilities Registers Enabled
inline constexpr Field<uint64_t> kCmse{1, 1};   // Controller Memory Space Enable
inline constexpr Field<uint64_t> kCba{12, 52};  // Base address, in pages of 4 KiB
}  // namespace cmbmsc

// --- Queue entries.

// Scatter Gather List descriptor. Base §4.1.2.
struct SglDescriptor {
  Le64 address;
  Le32 length;
  uint8_t reserved[3];
  uint8_t type;  // SGL_TYPE << 4 | SUB_TYPE
};
static_assert(sizeof(SglDescriptor) == 16);
inline constexpr uint8_t kSglDataBlock = 0x00;
inline constexpr uint8_t kSglBitBucket = 0x10;
inline constexpr uint8_t kSglSegment = 0x20;
inline constexpr uint8_t kSglLastSegment = 0x30;

// Submission Queue Entry. Base §3.3.3.1, figure 87.
struct SubmissionEntry {
  uint8_t opc = 0;
  uint8_t flags = 0;  // PSDT << 6 | FUSE
  Le16 cid;
  Le32 nsid;
  Le32 cdw2, cdw3;
  Le64 mptr;
  Le64 prp1;  // Or the first half of an SGL descriptor.
  Le64 prp2;
  Le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(SubmissionEntry) == 64);
static_assert(offsetof(SubmissionEntry, mptr) == 16);
static_assert(offsetof(SubmissionEntry, prp1) == 24);
static_assert(offsetof(SubmissionEntry, cdw10) == 40);
inline constexpr uint8_t kFuseFirst = 0x01;
inline constexpr uint8_t kFuseSecond = 0x02;
inline constexpr uint8_t kPsdtPrp = 0x00;
inline constexpr uint8_t kPsdtSgl = 0x40;          // Metadata: one contiguous buffer
inline constexpr uint8_t kPsdtSglMetadata = 0x80;  // Metadata: an SGL segment

// Common Completion Queue Entry. Base §3.3.3.2, figure 90.
struct CompletionEntry {
  Le32 dw0;
  Le32 dw1;
  Le16 sqhd;
  Le16 sqid;
  Le16 cid;
  Le16 status;  // Bit 0 is the phase tag, 15:1 the status field.
};
static_assert(sizeof(CompletionEntry) == 16);
static_assert(offsetof(CompletionEntry, status) == 14);

// The status field without the phase tag. Base §3.3.3.2.1.
namespace status {
inline constexpr Field<uint16_t> kSc{0, 8};    // Status Code
inline constexpr Field<uint16_t> kSct{8, 3};   // Status Code Type
inline constexpr Field<uint16_t> kCrd{11, 2};  // Command Retry Delay
inline constexpr Field<uint16_t> kMore{13, 1};
inline constexpr Field<uint16_t> kDnr{14, 1};  // Do Not Retry
inline constexpr uint16_t kDnrBit = 1 << 14;

// SCT << 8 | SC. Type 0: Generic Command Status, figures 94 and NVM figure 14.
inline constexpr uint16_t kSuccess = 0x000;
inline constexpr uint16_t kInvalidOpcode = 0x001;
inline constexpr uint16_t kInvalidField = 0x002;
inline constexpr uint16_t kCommandIdConflict = 0x003;
inline constexpr uint16_t kDataTransferError = 0x004;
inline constexpr uint16_t kAbortedPowerLoss = 0x005;
inline constexpr uint16_t kInternalError = 0x006;
inline constexpr uint16_t kAbortRequested = 0x007;
inline constexpr uint16_t kAbortedSqDeletion = 0x008;
inline constexpr uint16_t kAbortedFailedFused = 0x009;
inline constexpr uint16_t kAbortedMissingFused = 0x00a;
inline constexpr uint16_t kInvalidNamespace = 0x00b;
inline constexpr uint16_t kCommandSequenceError = 0x00c;
inline constexpr uint16_t kInvalidSglSegment = 0x00d;
inline constexpr uint16_t kInvalidSglCount = 0x00e;
inline constexpr uint16_t kSglDataLengthInvalid = 0x00f;
inline constexpr uint16_t kSglMetadataLengthInvalid = 0x010;
inline constexpr uint16_t kSglTypeInvalid = 0x011;
inline constexpr uint16_t kInvalidCmbUse = 0x012;
inline constexpr uint16_t kInvalidPrpOffset = 0x013;
inline constexpr uint16_t kAtomicWriteUnitExceeded = 0x014;
inline constexpr uint16_t kOperationDenied = 0x015;
inline constexpr uint16_t kSglOffsetInvalid = 0x016;
inline constexpr uint16_t kSanitizeFailed = 0x01c;
inline constexpr uint16_t kSanitizeInProgress = 0x01d;
inline constexpr uint16_t kNamespaceWriteProtected = 0x020;
inline constexpr uint16_t kCommandInterrupted = 0x021;
inline constexpr uint16_t kTransientTransportError = 0x022;
inline constexpr uint16_t kAdminMediaNotReady = 0x024;
inline constexpr uint16_t kLbaOutOfRange = 0x080;
inline constexpr uint16_t kCapacityExceeded = 0x081;
inline constexpr uint16_t kNamespaceNotReady = 0x082;
inline constexpr uint16_t kReservationConflict = 0x083;
inline constexpr uint16_t kFormatInProgress = 0x084;
// Type 1: Command Specific Status, figure 97.
inline constexpr uint16_t kCompletionQueueInvalid = 0x100;
inline constexpr uint16_t kInvalidQueueIdentifier = 0x101;
inline constexpr uint16_t kInvalidQueueSize = 0x102;
inline constexpr uint16_t kAbortLimitExceeded = 0x103;
inline constexpr uint16_t kAsyncEventLimitExceeded = 0x105;
inline constexpr uint16_t kInvalidFirmwareSlot = 0x106;
inline constexpr uint16_t kInvalidFirmwareImage = 0x107;
inline constexpr uint16_t kInvalidInterruptVector = 0x108;
inline constexpr uint16_t kInvalidLogPage = 0x109;
inline constexpr uint16_t kInvalidFormat = 0x10a;
inline constexpr uint16_t kFirmwareNeedsReset = 0x10b;
inline constexpr uint16_t kInvalidQueueDeletion = 0x10c;
inline constexpr uint16_t kFeatureNotSaveable = 0x10d;
inline constexpr uint16_t kFeatureNotChangeable = 0x10e;
inline constexpr uint16_t kFirmwareNeedsSubsystemReset = 0x110;
inline constexpr uint16_t kFirmwareNeedsControllerReset = 0x111;
inline constexpr uint16_t kNamespaceAlreadyAttached = 0x118;
inline constexpr uint16_t kNamespaceNotAttached = 0x11a;
inline constexpr uint16_t kConflictingAttributes = 0x180;
inline constexpr uint16_t kInvalidProtectionInformation = 0x181;
inline constexpr uint16_t kWriteToReadOnlyRange = 0x182;
inline constexpr uint16_t kCommandSizeLimitExceeded = 0x183;
inline constexpr uint16_t kOverlappingIoRange = 0x187;  // NVM 1.1
inline constexpr uint16_t kZoneBoundaryError = 0x1b8;
inline constexpr uint16_t kZoneFull = 0x1b9;
inline constexpr uint16_t kZoneReadOnly = 0x1ba;
inline constexpr uint16_t kZoneOffline = 0x1bb;
inline constexpr uint16_t kZoneInvalidWrite = 0x1bc;
inline constexpr uint16_t kTooManyActiveZones = 0x1bd;
inline constexpr uint16_t kTooManyOpenZones = 0x1be;
inline constexpr uint16_t kInvalidZoneStateTransition = 0x1bf;
// Type 2: Media and Data Integrity Errors, figure 98.
inline constexpr uint16_t kWriteFault = 0x280;
inline constexpr uint16_t kUnrecoveredReadError = 0x281;
inline constexpr uint16_t kGuardCheckError = 0x282;
inline constexpr uint16_t kApplicationTagCheckError = 0x283;
inline constexpr uint16_t kReferenceTagCheckError = 0x284;
inline constexpr uint16_t kCompareFailure = 0x285;
inline constexpr uint16_t kAccessDenied = 0x286;
inline constexpr uint16_t kDeallocatedBlock = 0x287;
// Type 3: Path Related Status, figure 99. The last two are made by hosts.
inline constexpr uint16_t kInternalPathError = 0x300;
inline constexpr uint16_t kAnaPersistentLoss = 0x301;
inline constexpr uint16_t kAnaInaccessible = 0x302;
inline constexpr uint16_t kAnaTransition = 0x303;
inline constexpr uint16_t kControllerPathingError = 0x360;
inline constexpr uint16_t kHostPathingError = 0x370;
inline constexpr uint16_t kAbortedByHost = 0x371;
}  // namespace status

// --- Opcodes. Base figure 138; NVM figure 19; ZNS figure 24.
namespace admin {
inline constexpr uint8_t kDeleteSq = 0x00;
inline constexpr uint8_t kCreateSq = 0x01;
inline constexpr uint8_t kGetLogPage = 0x02;
inline constexpr uint8_t kDeleteCq = 0x04;
inline constexpr uint8_t kCreateCq = 0x05;
inline constexpr uint8_t kIdentify = 0x06;
inline constexpr uint8_t kAbort = 0x08;
inline constexpr uint8_t kSetFeatures = 0x09;
inline constexpr uint8_t kGetFeatures = 0x0a;
inline constexpr uint8_t kAsyncEventRequest = 0x0c;
inline constexpr uint8_t kNamespaceManagement = 0x0d;
inline constexpr uint8_t kFirmwareCommit = 0x10;
inline constexpr uint8_t kFirmwareImageDownload = 0x11;
inline constexpr uint8_t kDeviceSelfTest = 0x14;
inline constexpr uint8_t kNamespaceAttachment = 0x15;
inline constexpr uint8_t kKeepAlive = 0x18;
inline constexpr uint8_t kDirectiveSend = 0x19;
inline constexpr uint8_t kDirectiveReceive = 0x1a;
inline constexpr uint8_t kDoorbellBufferConfig = 0x7c;
inline constexpr uint8_t kFabrics = 0x7f;
inline constexpr uint8_t kFormatNvm = 0x80;
inline constexpr uint8_t kSecuritySend = 0x81;
inline constexpr uint8_t kSecurityReceive = 0x82;
inline constexpr uint8_t kSanitize = 0x84;
}  // namespace admin
namespace io {
inline constexpr uint8_t kFlush = 0x00;
inline constexpr uint8_t kWrite = 0x01;
inline constexpr uint8_t kRead = 0x02;
inline constexpr uint8_t kWriteUncorrectable = 0x04;
inline constexpr uint8_t kCompare = 0x05;
inline constexpr uint8_t kWriteZeroes = 0x08;
inline constexpr uint8_t kDatasetManagement = 0x09;
inline constexpr uint8_t kVerify = 0x0c;
inline constexpr uint8_t kReservationRegister = 0x0d;
inline constexpr uint8_t kReservationReport = 0x0e;
inline constexpr uint8_t kReservationAcquire = 0x11;
inline constexpr uint8_t kReservationRelease = 0x15;
inline constexpr uint8_t kCopy = 0x19;
inline constexpr uint8_t kZoneManagementSend = 0x79;
inline constexpr uint8_t kZoneManagementReceive = 0x7a;
inline constexpr uint8_t kZoneAppend = 0x7d;
}  // namespace io

// --- Identify. Base §5.17; CNS values of figure 273.
namespace cns {
inline constexpr uint8_t kNamespace = 0x00;
inline constexpr uint8_t kController = 0x01;
inline constexpr uint8_t kActiveNamespaces = 0x02;
inline constexpr uint8_t kNamespaceDescriptors = 0x03;
inline constexpr uint8_t kCsNamespace = 0x05;
inline constexpr uint8_t kCsController = 0x06;
inline constexpr uint8_t kCsActiveNamespaces = 0x07;
inline constexpr uint8_t kIndependentNamespace = 0x08;
inline constexpr uint8_t kAllocatedNamespaces = 0x10;
inline constexpr uint8_t kAllocatedNamespace = 0x11;
inline constexpr uint8_t kIoCommandSets = 0x1c;
}  // namespace cns
inline constexpr uint8_t kCsiNvm = 0x00;
inline constexpr uint8_t kCsiZoned = 0x02;
inline constexpr uint32_t kAllNamespaces = 0xffffffff;

struct PowerState {  // Figure 276.
  Le16 mp;
  uint8_t reserved2, flags3;
  Le32 enlat, exlat;
  uint8_t rrt, rrl, rwt, rwl;
  Le16 idlp;
  uint8_t ips, reserved19;
  Le16 actp;
  uint8_t apw, reserved23[9];
};
static_assert(sizeof(PowerState) == 32);

struct IdentifyController {  // Figure 275.
  Le16 vid, ssvid;
  char sn[20], mn[40], fr[8];
  uint8_t rab, ieee[3], cmic, mdts;
  Le16 cntlid;
  Le32 ver, rtd3r, rtd3e, oaes, ctratt;
  Le16 rrls;
  uint8_t reserved102[9], cntrltype, fguid[16];
  Le16 crdt1, crdt2, crdt3;
  uint8_t reserved134[119], nvmsr, vwci, mec;
  Le16 oacs;
  uint8_t acl, aerl, frmw, lpa, elpe, npss, avscc, apsta;
  Le16 wctemp, cctemp, mtfa;
  Le32 hmpre, hmmin;
  uint8_t tnvmcap[16], unvmcap[16];
  Le32 rpmbs;
  Le16 edstt;
  uint8_t dsto, fwug;
  Le16 kas, hctma, mntmt, mxtmt;
  Le32 sanicap, hmminds;
  Le16 hmmaxd, nsetidmax, endgidmax;
  uint8_t anatt, anacap;
  Le32 anagrpmax, nanagrpid, pels;
  Le16 domain_identifier;
  uint8_t reserved358[10], megcap[16], reserved384[128];
  uint8_t sqes, cqes;
  Le16 maxcmd;
  Le32 nn;
  Le16 oncs, fuses;
  uint8_t fna, vwc;
  Le16 awun, awupf;
  uint8_t icsvscc, nwpc;
  Le16 acwu, ocfs;
  Le32 sgls, mnan;
  uint8_t maxdna[16];
  Le32 maxcna;
  uint8_t reserved564[204];
  char subnqn[256];
  uint8_t reserved1024[768];
  Le32 ioccsz, iorcsz;
  Le16 icdoff;
  uint8_t fcatt, msdbd;
  Le16 ofcs;
  uint8_t reserved1806[242];
  PowerState psd[32];
  uint8_t vendor[1024];
};
static_assert(sizeof(IdentifyController) == 4096);
static_assert(offsetof(IdentifyController, mdts) == 77);
static_assert(offsetof(IdentifyController, ver) == 80);
static_assert(offsetof(IdentifyController, cntrltype) == 111);
static_assert(offsetof(IdentifyController, oacs) == 256);
static_assert(offsetof(IdentifyController, hmpre) == 272);
static_assert(offsetof(IdentifyController, kas) == 320);
static_assert(offsetof(IdentifyController, anagrpmax) == 344);
static_assert(offsetof(IdentifyController, sqes) == 512);
static_assert(offsetof(IdentifyController, vwc) == 525);
static_assert(offsetof(IdentifyController, sgls) == 536);
static_assert(offsetof(IdentifyController, subnqn) == 768);
static_assert(offsetof(IdentifyController, psd) == 2048);

namespace oacs {
inline constexpr uint16_t kSecurity = 1 << 0, kFormat = 1 << 1, kFirmware = 1 << 2,
                          kNamespaceManagement = 1 << 3, kSelfTest = 1 << 4, kDirectives = 1 << 5,
                          kDoorbellBufferConfig = 1 << 8;
}
namespace oncs {
inline constexpr uint16_t kCompare = 1 << 0, kWriteUncorrectable = 1 << 1, kDsm = 1 << 2,
                          kWriteZeroes = 1 << 3, kSaveSelect = 1 << 4, kReservations = 1 << 5,
                          kTimestamp = 1 << 6, kVerify = 1 << 7, kCopy = 1 << 8;
}

struct LbaFormat {  // NVM figure 98.
  Le16 ms;
  uint8_t lbads;  // Log2 of the block's bytes, 9 at least; 0: the format is not available.
  uint8_t rp;
};
static_assert(sizeof(LbaFormat) == 4);

struct IdentifyNamespace {  // NVM figure 97.
  Le64 nsze, ncap, nuse;
  uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps, nmic, rescap, fpi, dlfeat;
  Le16 nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
  uint8_t nvmcap[16];
  Le16 npwg, npwa, npdg, npda, nows, mssrl;
  Le32 mcl;
  uint8_t msrc, reserved81[11];
  Le32 anagrpid;
  uint8_t reserved96[3], nsattr;
  Le16 nvmsetid, endgid;
  uint8_t nguid[16], eui64[8];
  LbaFormat lbaf[64];
  uint8_t vendor[3712];
};
static_assert(sizeof(IdentifyNamespace) == 4096);
static_assert(offsetof(IdentifyNamespace, dps) == 29);
static_assert(offsetof(IdentifyNamespace, noiob) == 46);
static_assert(offsetof(IdentifyNamespace, npwg) == 64);
static_assert(offsetof(IdentifyNamespace, mcl) == 76);
static_assert(offsetof(IdentifyNamespace, anagrpid) == 92);
static_assert(offsetof(IdentifyNamespace, nguid) == 104);
static_assert(offsetof(IdentifyNamespace, lbaf) == 128);

struct ZoneFormat {  // ZNS figure 49.
  Le64 zsze;
  uint8_t zdes, reserved[7];
};
struct IdentifyZonedNamespace {  // ZNS figure 48: CNS 05h, CSI 02h.
  Le16 zoc, ozcs;
  Le32 mar, mor, rrl, frl, rrl1, rrl2, rrl3, frl1, frl2, frl3;
  Le32 numzrwa;
  Le16 zrwafg, zrwas;
  uint8_t zrwacap, reserved53[2763];
  ZoneFormat lbafe[64];
  uint8_t vendor[256];
};
static_assert(sizeof(IdentifyZonedNamespace) == 4096);
static_assert(offsetof(IdentifyZonedNamespace, lbafe) == 2816);

struct NamespaceDescriptor {  // Base figure 278: then nidl bytes.
  uint8_t nidt, nidl, reserved[2];
};
inline constexpr uint8_t kNidtEui64 = 1, kNidtNguid = 2, kNidtUuid = 3, kNidtCsi = 4;

// --- Log pages. Base §5.16.1.
namespace log_page {
inline constexpr uint8_t kSupported = 0x00;
inline constexpr uint8_t kError = 0x01;
inline constexpr uint8_t kHealth = 0x02;
inline constexpr uint8_t kFirmwareSlot = 0x03;
inline constexpr uint8_t kChangedNamespaces = 0x04;
inline constexpr uint8_t kEffects = 0x05;
inline constexpr uint8_t kSelfTest = 0x06;
inline constexpr uint8_t kAna = 0x0c;
inline constexpr uint8_t kSanitizeStatus = 0x81;
inline constexpr uint8_t kChangedZones = 0xbf;
}  // namespace log_page

struct ErrorLogEntry {  // Figure 206.
  Le64 error_count;
  Le16 sqid, cmdid, status, parameter_error_location;
  Le64 lba;
  Le32 nsid;
  uint8_t vendor_log, trtype, reserved30[2];
  Le64 command_specific;
  Le16 trtype_specific;
  uint8_t reserved42[22];
};
static_assert(sizeof(ErrorLogEntry) == 64);

struct HealthLog {  // SMART / Health Information, figure 207. 128-bit numbers are 16 bytes.
  uint8_t critical_warning;
  Le16 temperature;  // Kelvin
  uint8_t avail_spare, spare_thresh, percent_used, endu_grp_crit_warn, reserved7[25];
  uint8_t data_units_read[16], data_units_written[16], host_reads[16], host_writes[16];
  uint8_t ctrl_busy_time[16], power_cycles[16], power_on_hours[16], unsafe_shutdowns[16];
  uint8_t media_errors[16], num_err_log_entries[16];
  Le32 warning_temp_time, critical_temp_time;
  Le16 temp_sensor[8];
  Le32 thm_temp1_trans_count, thm_temp2_trans_count, thm_temp1_total_time, thm_temp2_total_time;
  uint8_t reserved232[280];
};
static_assert(sizeof(HealthLog) == 512);
static_assert(offsetof(HealthLog, data_units_read) == 32);
static_assert(offsetof(HealthLog, warning_temp_time) == 192);

struct FirmwareSlotLog {  // Figure 208.
  uint8_t afi, reserved1[7];
  char frs[7][8];
  uint8_t reserved64[448];
};
static_assert(sizeof(FirmwareSlotLog) == 512);

// --- Features. Base §5.27.1.
namespace feature {
inline constexpr uint8_t kArbitration = 0x01;
inline constexpr uint8_t kPowerManagement = 0x02;
inline constexpr uint8_t kTemperatureThreshold = 0x04;
inline constexpr uint8_t kErrorRecovery = 0x05;
inline constexpr uint8_t kVolatileWriteCache = 0x06;
inline constexpr uint8_t kNumberOfQueues = 0x07;
inline constexpr uint8_t kInterruptCoalescing = 0x08;
inline constexpr uint8_t kInterruptVectorConfiguration = 0x09;
inline constexpr uint8_t kWriteAtomicity = 0x0a;
inline constexpr uint8_t kAsyncEventConfiguration = 0x0b;
inline constexpr uint8_t kHostMemoryBuffer = 0x0d;
inline constexpr uint8_t kTimestamp = 0x0e;
inline constexpr uint8_t kKeepAliveTimer = 0x0f;
inline constexpr uint8_t kHostBehaviorSupport = 0x16;
inline constexpr uint8_t kIoCommandSetProfile = 0x19;
inline constexpr uint8_t kHostIdentifier = 0x81;
inline constexpr uint8_t kReservationNotificationMask = 0x82;
inline constexpr uint8_t kReservationPersistence = 0x83;
inline constexpr uint8_t kNamespaceWriteProtection = 0x84;
}  // namespace feature

struct HostMemoryDescriptor {  // Figure 326.
  Le64 badd;
  Le32 bsize, reserved;  // In memory pages.
};
static_assert(sizeof(HostMemoryDescriptor) == 16);

// --- Asynchronous events: dword 0 of the completion. Base §5.2, figures 145 to 150.
namespace async_event {
inline constexpr Field<uint32_t> kType{0, 3};
inline constexpr Field<uint32_t> kInformation{8, 8};
inline constexpr Field<uint32_t> kLogPage{16, 8};
inline constexpr uint32_t kErrorStatus = 0, kHealthStatus = 1, kNotice = 2, kImmediate = 3,
                          kIoCommandSet = 6, kVendor = 7;
inline constexpr uint32_t kNoticeNamespaceChanged = 0x00, kNoticeFirmwareActivation = 0x01,
                          kNoticeAnaChanged = 0x03, kNoticeZoneChanged = 0xef;
}  // namespace async_event

// --- Data of I/O commands.

struct DsmRange {   // NVM figure 41.
  Le32 cattr, nlb;  // In blocks, not 0's based.
  Le64 slba;
};
static_assert(sizeof(DsmRange) == 16);

struct CopyRange {  // NVM figure 37: descriptor format 0h.
  uint8_t reserved0[8];
  Le64 slba;
  Le16 nlb;  // 0's based
  uint8_t reserved18[6];
  Le32 eilbrt;
  Le16 elbat, elbatm;
};
static_assert(sizeof(CopyRange) == 32);

// Protection information, 16-bit guard: big-endian, as T10 has it. NVM figure 112.
struct ProtectionInformation {
  Be16 guard, application_tag;
  Be32 reference_tag;
};
static_assert(sizeof(ProtectionInformation) == 8);

// Dword 12 of reads, writes, compares, write zeroes and verifies. NVM figures 28, 70.
namespace cdw12 {
inline constexpr Field<uint32_t> kNlb{0, 16};   // 0's based
inline constexpr Field<uint32_t> kDeac{25, 1};  // Write Zeroes: deallocate
inline constexpr Field<uint32_t> kPrchkRef{26, 1};
inline constexpr Field<uint32_t> kPrchkApp{27, 1};
inline constexpr Field<uint32_t> kPrchkGuard{28, 1};
inline constexpr Field<uint32_t> kPract{29, 1};
inline constexpr Field<uint32_t> kFua{30, 1};
inline constexpr Field<uint32_t> kLr{31, 1};
}  // namespace cdw12

// Dword 11 of Dataset Management. NVM figure 40.
inline constexpr uint32_t kDsmDeallocate = 1u << 2;

// Dword 12 of Copy. NVM figure 35.
namespace copy {
inline constexpr Field<uint32_t> kNr{0, 8};  // 0's based
inline constexpr Field<uint32_t> kDesfmt{8, 4};
inline constexpr Field<uint32_t> kPrinfor{12, 4};  // Of the reads
inline constexpr Field<uint32_t> kPrinfow{26, 4};  // Of the write; bit 3 is PRACT in both.
inline constexpr Field<uint32_t> kFua{30, 1};
}  // namespace copy

struct ZoneDescriptor {  // ZNS figure 37.
  uint8_t zt, zs, za, zai, reserved4[4];
  Le64 zcap, zslba, wp;
  uint8_t reserved32[32];
};
static_assert(sizeof(ZoneDescriptor) == 64);
struct ZoneReportHeader {  // ZNS figure 35.
  Le64 number_of_zones;
  uint8_t reserved[56];
};
static_assert(sizeof(ZoneReportHeader) == 64);

}  // namespace pollux::nvme
