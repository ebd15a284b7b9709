// NVMe over Fabrics: the fabrics chapters of the NVM Express Base Specification 2.0c. Names are
// theirs, in lower case, so that a reader can search the document for them. No behaviour.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "core/wire_int.h"

namespace pollux::nvme {

inline constexpr char kDiscoveryNqn[] = "nqn.2014-08.org.nvmexpress.discovery";
inline constexpr size_t kNqnBytesMax = 223;  // Without the NUL. §4.5
inline constexpr uint16_t kDynamicCntlid = 0xffff;
inline constexpr uint16_t kCntlidMax = 0xffef;

// SGL descriptors of capsules: SGL_TYPE << 4 | SUB_TYPE. §4.1.2
inline constexpr uint8_t kSglDataBlockOffset = 0x01;     // In-capsule data, `address` an offset.
inline constexpr uint8_t kSglTransportDataBlock = 0x5a;  // The transport moves it.

// --- Fabrics commands (opcode 7Fh). §6: byte 4, where others have the NSID.
namespace fctype {
inline constexpr uint8_t kPropertySet = 0x00;
inline constexpr uint8_t kConnect = 0x01;
inline constexpr uint8_t kPropertyGet = 0x04;
inline constexpr uint8_t kAuthenticationSend = 0x05;
inline constexpr uint8_t kAuthenticationReceive = 0x06;
inline constexpr uint8_t kDisconnect = 0x08;
}  // namespace fctype

struct FabricsCommand {  // Figure 373
  uint8_t opcode, flags;
  Le16 cid;
  uint8_t fctype, reserved5[19];
  uint8_t sgl1[16];
  uint8_t specific[24];
};
static_assert(sizeof(FabricsCommand) == 64);

struct ConnectCommand {  // Figure 379
  uint8_t opcode, flags;
  Le16 cid;
  uint8_t fctype, reserved5[19];
  uint8_t sgl1[16];
  Le16 recfmt, qid, sqsize;  // sqsize is 0's based
  uint8_t cattr, reserved47;
  Le32 kato;  // ms; 0: no keep alive
  uint8_t reserved52[12];
};
static_assert(sizeof(ConnectCommand) == 64);
static_assert(offsetof(ConnectCommand, qid) == 42);
static_assert(offsetof(ConnectCommand, kato) == 48);
namespace cattr {
inline constexpr uint8_t kPriorityClass = 0x03;
inline constexpr uint8_t kDisableSqFlowControl = 0x04;
inline constexpr uint8_t kIndividualQueueDeletion = 0x08;
}  // namespace cattr

struct ConnectData {  // Figure 380
  uint8_t hostid[16];
  Le16 cntlid;
  uint8_t reserved18[238];
  char subnqn[256], hostnqn[256];
  uint8_t reserved768[256];
};
static_assert(sizeof(ConnectData) == 1024);
static_assert(offsetof(ConnectData, subnqn) == 256);
static_assert(offsetof(ConnectData, hostnqn) == 512);

// Dword 0 of Connect's completion. Success: CNTLID in 15:0, AUTHREQ in 31:16. Invalid parameters:
// IPO in 15:0, and IATTR in 23:16, which is 1 when the offset is one of the data. Figure 381
inline constexpr uint32_t kIattrData = 1u << 16;

struct PropertyCommand {  // Get and Set. Figures 384, 386
  uint8_t opcode, flags;
  Le16 cid;
  uint8_t fctype, reserved5[35];
  uint8_t attrib, reserved41[3];  // Bits 2:0: 0 four bytes, 1 eight bytes.
  Le32 ofst;
  Le64 value;  // Of Set.
  uint8_t reserved56[8];
};
static_assert(sizeof(PropertyCommand) == 64);
static_assert(offsetof(PropertyCommand, ofst) == 44);

struct DisconnectCommand {  // Figure 382
  uint8_t opcode, flags;
  Le16 cid;
  uint8_t fctype, reserved5[35];
  Le16 recfmt;
  uint8_t reserved42[22];
};
static_assert(sizeof(DisconnectCommand) == 64);

// Command specific statuses of fabrics commands: SCT << 8 | SC. Figure 375
namespace status {
inline constexpr uint16_t kConnectIncompatibleFormat = 0x180;
inline constexpr uint16_t kConnectControllerBusy = 0x181;
inline constexpr uint16_t kConnectInvalidParameters = 0x182;
inline constexpr uint16_t kConnectRestartDiscovery = 0x183;
inline constexpr uint16_t kConnectInvalidHost = 0x184;
inline constexpr uint16_t kInvalidQueueType = 0x185;
inline constexpr uint16_t kDiscoverRestart = 0x190;
inline constexpr uint16_t kAuthenticationRequired = 0x191;
// Generic: the keep alive timer is wrong, or the controller has another host's identity.
inline constexpr uint16_t kHostIdInconsistent = 0x018;
inline constexpr uint16_t kKeepAliveTimerExpired = 0x019;
inline constexpr uint16_t kKeepAliveTimerInvalid = 0x01a;
}  // namespace status

// --- Identify data that only the target makes. Base §5.17, NVM §4.1.5
namespace cns {
inline constexpr uint8_t kAttachedControllers = 0x12;  // Of a namespace.
inline constexpr uint8_t kControllers = 0x13;          // Of the subsystem.
}  // namespace cns

struct IndependentNamespace {  // I/O Command Set Independent: CNS 08h. Figure 280
  uint8_t nsfeat, nmic, rescap, fpi;
  Le32 anagrpid;
  uint8_t nsattr, reserved9;
  Le16 nvmsetid, endgid;
  uint8_t nstat;  // Bit 0: ready.
  uint8_t reserved15[4081];
};
static_assert(sizeof(IndependentNamespace) == 4096);
static_assert(offsetof(IndependentNamespace, nstat) == 14);

struct IdentifyNvmController {  // CNS 06h, CSI 0. NVM figure 102
  uint8_t vsl, wzsl, wusl, dmrl;
  Le32 dmrsl;
  Le64 dmsl;
  uint8_t reserved16[4080];
};
static_assert(sizeof(IdentifyNvmController) == 4096);

// What the Namespace Write Protection feature says. §8.12, figure 341
enum class WriteProtection : uint8_t { kNone, kOn, kUntilPowerCycle, kPermanent };

// --- Discovery log page. §5.16.1.23
namespace log_page {
inline constexpr uint8_t kFeatureEffects = 0x12;
inline constexpr uint8_t kDiscovery = 0x70;
}  // namespace log_page

inline constexpr uint8_t kTrtypeRdma = 1, kTrtypeFc = 2, kTrtypeTcp = 3;
inline constexpr uint8_t kAdrfamIpv4 = 1, kAdrfamIpv6 = 2;
inline constexpr uint8_t kSubtypeReferral = 1, kSubtypeNvm = 2, kSubtypeCurrentDiscovery = 3;
inline constexpr uint8_t kTreqNotSpecified = 0, kTreqRequired = 1, kTreqNotRequired = 2;
inline constexpr uint8_t kTreqSqFlowControlDisable = 4;  // It may be disabled.
inline constexpr uint16_t kEflagDuplicate = 1, kEflagPersistent = 2;
inline constexpr uint8_t kTcpSecurityNone = 0, kTcpSecurityTls13 = 2;  // tsas[0]

struct DiscoveryLogHeader {
  Le64 genctr, numrec;
  Le16 recfmt;
  uint8_t reserved18[1006];
};
static_assert(sizeof(DiscoveryLogHeader) == 1024);

struct DiscoveryLogEntry {
  uint8_t trtype, adrfam, subtype, treq;
  Le16 portid, cntlid, asqsz, eflags;
  uint8_t reserved12[20];
  char trsvcid[32];  // ASCII, filled with spaces.
  uint8_t reserved64[192];
  char subnqn[256];  // UTF-8, filled with NULs.
  char traddr[256];  // ASCII, filled with spaces.
  uint8_t tsas[256];
};
static_assert(sizeof(DiscoveryLogEntry) == 1024);
static_assert(offsetof(DiscoveryLogEntry, trsvcid) == 32);
static_assert(offsetof(DiscoveryLogEntry, subnqn) == 256);
static_assert(offsetof(DiscoveryLogEntry, traddr) == 512);

// --- Asymmetric Namespace Access log page. §5.16.1.13
struct AnaLogHeader {
  Le64 change_count;
  Le16 descriptors;
  uint8_t reserved10[6];
};
static_assert(sizeof(AnaLogHeader) == 16);
struct AnaGroupDescriptor {  // Then nnsids NSIDs of four bytes.
  Le32 agid, nnsids;
  Le64 change_count;
  uint8_t state, reserved17[15];
};
static_assert(sizeof(AnaGroupDescriptor) == 32);
enum class AnaState : uint8_t {
  kOptimized = 0x1,
  kNonOptimized = 0x2,
  kInaccessible = 0x3,
  kPersistentLoss = 0x4,
  kChange = 0xf
};

namespace async_event {
inline constexpr uint32_t kNoticeDiscoveryChanged = 0xf0;
// Bits of OAES and of the Asynchronous Event Configuration feature.
inline constexpr uint32_t kEnableNamespaceAttribute = 1u << 8, kEnableAnaChange = 1u << 11,
                          kEnableDiscoveryChange = 1u << 31;
}  // namespace async_event

}  // namespace pollux::nvme
