// iSCSI, RFC 7143 (April 2014): basic header segments, codes and limits. Multi-byte fields are
// big-endian. Only what we use.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/wire_int.h"

namespace pollux::iscsi {

// §11.2.1.2. Bit 6 of the first byte is the immediate bit of requests.
enum class Opcode : uint8_t {
  kNopOut = 0x00,
  kScsiCommand = 0x01,
  kTaskManagementRequest = 0x02,
  kLoginRequest = 0x03,
  kTextRequest = 0x04,
  kDataOut = 0x05,
  kLogoutRequest = 0x06,
  kSnackRequest = 0x10,

  kNopIn = 0x20,
  kScsiResponse = 0x21,
  kTaskManagementResponse = 0x22,
  kLoginResponse = 0x23,
  kTextResponse = 0x24,
  kDataIn = 0x25,
  kLogoutResponse = 0x26,
  kR2t = 0x31,
  kAsyncMessage = 0x32,
  kReject = 0x3f,
};
inline constexpr uint8_t kOpcodeMask = 0x3f;
inline constexpr uint8_t kImmediate = 0x40;
inline constexpr uint8_t kFinal = 0x80;  // F, in the second byte of most PDUs.

inline constexpr uint32_t kReservedTag = 0xffffffff;
inline constexpr size_t kHeaderBytes = 48;
inline constexpr size_t kAhsBytesMax = 255 * 4;
inline constexpr uint32_t kDataSegmentBytesMax = 0xffffff;
inline constexpr size_t kDigestBytes = 4;  // CRC32C, least significant byte first. §13.1

constexpr uint32_t PaddedTo4(uint32_t bytes) { return (bytes + 3) & ~3u; }

// What all basic header segments have in common. §11.2.1.
struct BasicHeader {
  uint8_t opcode;
  uint8_t flags;
  uint8_t specific_2[2];
  uint8_t total_ahs_length;  // In words of four bytes.
  Be24 data_segment_length;  // Without padding.
  Be64 lun;
  Be32 itt;  // Initiator task tag.
  uint8_t specific_20[28];

  Opcode operation() const { return static_cast<Opcode>(opcode & kOpcodeMask); }
  bool immediate() const { return (opcode & kImmediate) != 0; }
  bool final() const { return (flags & kFinal) != 0; }
};
static_assert(sizeof(BasicHeader) == kHeaderBytes && offsetof(BasicHeader, itt) == 16);

// The header as what its opcode says it is. All of them are 48 bytes of alignment 1.
template <typename T>
const T& As(const BasicHeader& header) {
  static_assert(sizeof(T) == sizeof(BasicHeader) && alignof(T) == 1);
  return reinterpret_cast<const T&>(header);
}

// §11.2.2: an additional header segment starts with this, and is padded to four bytes.
struct AhsHeader {
  Be16 length;  // Of what follows the type.
  uint8_t type;
};

// --- Requests.

struct ScsiCommandPdu {  // §11.3
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 expected_data_transfer_length;
  Be32 cmd_sn;
  Be32 exp_stat_sn;
  uint8_t cdb[16];
};
static_assert(sizeof(ScsiCommandPdu) == kHeaderBytes && offsetof(ScsiCommandPdu, cdb) == 32);
namespace command_flags {
inline constexpr uint8_t kRead = 0x40;
inline constexpr uint8_t kWrite = 0x20;
inline constexpr uint8_t kAttributeMask = 0x07;  // 0 untagged, 1 simple, 2 ordered, 3 head, 4 ACA.
}  // namespace command_flags

struct DataOutPdu {  // §11.7
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 ttt;  // Target transfer tag; kReservedTag: unsolicited.
  Be32 reserved_24;
  Be32 exp_stat_sn;
  Be32 reserved_32;
  Be32 data_sn;
  Be32 buffer_offset;
  Be32 reserved_44;
};
static_assert(sizeof(DataOutPdu) == kHeaderBytes && offsetof(DataOutPdu, buffer_offset) == 40);

struct TaskManagementRequestPdu {  // §11.5
  uint8_t opcode;
  uint8_t flags;  // F and the function.
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 referenced_task_tag;
  Be32 cmd_sn;
  Be32 exp_stat_sn;
  Be32 ref_cmd_sn;
  Be32 exp_data_sn;
  uint8_t reserved_40[8];
};
static_assert(sizeof(TaskManagementRequestPdu) == kHeaderBytes);
static_assert(offsetof(TaskManagementRequestPdu, ref_cmd_sn) == 32);
inline constexpr uint8_t kTaskFunctionMask = 0x7f;
enum class TaskManagementFunction : uint8_t {
  kAbortTask = 1,
  kAbortTaskSet = 2,
  kClearAca = 3,
  kClearTaskSet = 4,
  kLogicalUnitReset = 5,
  kTargetWarmReset = 6,
  kTargetColdReset = 7,
  kTaskReassign = 8,
};
enum class TaskManagementResult : uint8_t {
  kComplete = 0,
  kNoSuchTask = 1,
  kNoSuchLun = 2,
  kStillAllegiant = 3,
  kReassignmentNotSupported = 4,
  kNotSupported = 5,
  kNotAuthorized = 6,
  kRejected = 255,
};

struct TextRequestPdu {  // §11.10
  uint8_t opcode;
  uint8_t flags;  // F and C.
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 ttt;
  Be32 cmd_sn;
  Be32 exp_stat_sn;
  uint8_t reserved_32[16];
};
static_assert(sizeof(TextRequestPdu) == kHeaderBytes);
inline constexpr uint8_t kContinue = 0x40;  // C, in text and login PDUs.

struct Isid {  // §11.12.5
  uint8_t bytes[6];
  bool operator==(const Isid&) const = default;
};

struct LoginRequestPdu {  // §11.12
  uint8_t opcode;
  uint8_t flags;  // T, C, CSG, NSG.
  uint8_t version_max;
  uint8_t version_min;
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Isid isid;
  Be16 tsih;  // Target session identifying handle; 0: a new session.
  Be32 itt;
  Be16 cid;
  Be16 reserved_22;
  Be32 cmd_sn;
  Be32 exp_stat_sn;
  uint8_t reserved_32[16];
};
static_assert(sizeof(LoginRequestPdu) == kHeaderBytes && offsetof(LoginRequestPdu, tsih) == 14);
static_assert(offsetof(LoginRequestPdu, cmd_sn) == 24);
inline constexpr uint8_t kTransit = 0x80;  // T, in login PDUs.
inline constexpr uint8_t kVersion = 0;

enum class LoginStage : uint8_t { kSecurity = 0, kOperational = 1, kFullFeature = 3 };

struct NopOutPdu {  // §11.18
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 ttt;
  Be32 cmd_sn;
  Be32 exp_stat_sn;
  uint8_t reserved_32[16];
};
static_assert(sizeof(NopOutPdu) == kHeaderBytes);

struct LogoutRequestPdu {  // §11.14
  uint8_t opcode;
  uint8_t flags;  // F and the reason.
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  uint8_t reserved_8[8];
  Be32 itt;
  Be16 cid;
  Be16 reserved_22;
  Be32 cmd_sn;
  Be32 exp_stat_sn;
  uint8_t reserved_32[16];
};
static_assert(sizeof(LogoutRequestPdu) == kHeaderBytes && offsetof(LogoutRequestPdu, cid) == 20);
inline constexpr uint8_t kLogoutReasonMask = 0x7f;
enum class LogoutReason : uint8_t {
  kCloseSession = 0,
  kCloseConnection = 1,
  kRemoveForRecovery = 2,
};
enum class LogoutResult : uint8_t {
  kSuccess = 0,
  kNoSuchConnection = 1,
  kRecoveryNotSupported = 2,
  kCleanupFailed = 3,
};

// --- Responses. All carry StatSN, ExpCmdSN and MaxCmdSN at the same place.

// What no response needs of its own, as a start.
struct ResponsePdu {
  uint8_t opcode;
  uint8_t flags;
  uint8_t response;
  uint8_t status;
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 specific_20;
  Be32 stat_sn;
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  Be32 specific_36;
  Be32 specific_40;
  Be32 specific_44;
};
static_assert(sizeof(ResponsePdu) == kHeaderBytes && offsetof(ResponsePdu, stat_sn) == 24);

struct ScsiResponsePdu {  // §11.4
  uint8_t opcode;
  uint8_t flags;
  uint8_t response;  // 0: completed at the target.
  uint8_t status;
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  uint8_t reserved_8[8];
  Be32 itt;
  Be32 snack_tag;
  Be32 stat_sn;
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  Be32 exp_data_sn;  // How many Data-In and R2T PDUs were sent for the command.
  Be32 bidirectional_residual;
  Be32 residual;
};
static_assert(sizeof(ScsiResponsePdu) == kHeaderBytes && offsetof(ScsiResponsePdu, residual) == 44);
namespace residual_flags {  // In ScsiResponse and in Data-In with status.
inline constexpr uint8_t kOverflow = 0x04;
inline constexpr uint8_t kUnderflow = 0x02;
}  // namespace residual_flags

struct DataInPdu {  // §11.7
  uint8_t opcode;
  uint8_t flags;  // F, A, O, U, S.
  uint8_t reserved_2;
  uint8_t status;
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 ttt;
  Be32 stat_sn;  // Only with S.
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  Be32 data_sn;
  Be32 buffer_offset;
  Be32 residual;
};
static_assert(sizeof(DataInPdu) == kHeaderBytes && offsetof(DataInPdu, buffer_offset) == 40);
inline constexpr uint8_t kHasStatus = 0x01;  // S

struct R2tPdu {  // §11.8
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;
  Be32 ttt;
  Be32 stat_sn;
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  Be32 r2t_sn;
  Be32 buffer_offset;
  Be32 desired_data_transfer_length;
};
static_assert(sizeof(R2tPdu) == kHeaderBytes);
static_assert(offsetof(R2tPdu, desired_data_transfer_length) == 44);

struct LoginResponsePdu {  // §11.13
  uint8_t opcode;
  uint8_t flags;  // T, C, CSG, NSG.
  uint8_t version_max;
  uint8_t version_active;
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Isid isid;
  Be16 tsih;
  Be32 itt;
  Be32 reserved_20;
  Be32 stat_sn;
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  Be16 status;  // Class and detail.
  Be16 reserved_38;
  uint8_t reserved_40[8];
};
static_assert(sizeof(LoginResponsePdu) == kHeaderBytes);
static_assert(offsetof(LoginResponsePdu, status) == 36);

// Class in the high byte, detail in the low one. §11.13.5.
enum class LoginStatus : uint16_t {
  kSuccess = 0x0000,
  kMovedTemporarily = 0x0101,  // With TargetAddress.
  kInitiatorError = 0x0200,
  kAuthenticationFailed = 0x0201,
  kNotAuthorized = 0x0202,
  kNotFound = 0x0203,
  kTargetRemoved = 0x0204,
  kUnsupportedVersion = 0x0205,
  kTooManyConnections = 0x0206,
  kMissingParameter = 0x0207,
  kCannotJoinSession = 0x0208,
  kSessionTypeNotSupported = 0x0209,
  kNoSuchSession = 0x020a,
  kInvalidDuringLogin = 0x020b,
  kTargetError = 0x0300,
  kServiceUnavailable = 0x0301,
  kOutOfResources = 0x0302,
};

struct LogoutResponsePdu {  // §11.15
  uint8_t opcode;
  uint8_t flags;
  uint8_t result;
  uint8_t reserved_3;
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  uint8_t reserved_8[8];
  Be32 itt;
  Be32 reserved_20;
  Be32 stat_sn;
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  Be32 reserved_36;
  Be16 time2wait;
  Be16 time2retain;
  Be32 reserved_44;
};
static_assert(sizeof(LogoutResponsePdu) == kHeaderBytes);
static_assert(offsetof(LogoutResponsePdu, time2wait) == 40);

enum class RejectReason : uint8_t {  // §11.17.1
  kDataDigestError = 0x02,
  kSnackReject = 0x03,
  kProtocolError = 0x04,
  kCommandNotSupported = 0x05,
  kTooManyImmediateCommands = 0x06,
  kTaskInProgress = 0x07,
  kInvalidPduField = 0x09,
};

struct AsyncMessagePdu {  // §11.9
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved_2[2];
  uint8_t total_ahs_length;
  Be24 data_segment_length;
  Be64 lun;
  Be32 itt;  // kReservedTag.
  Be32 reserved_20;
  Be32 stat_sn;
  Be32 exp_cmd_sn;
  Be32 max_cmd_sn;
  uint8_t event;
  uint8_t vendor_code;
  Be16 parameter_1;
  Be16 parameter_2;
  Be16 parameter_3;
  Be32 reserved_44;
};
static_assert(sizeof(AsyncMessagePdu) == kHeaderBytes && offsetof(AsyncMessagePdu, event) == 36);
enum class AsyncEvent : uint8_t {
  kLogoutRequested = 1,
};

// --- Text. §6, §13.

inline constexpr size_t kNameBytesMax = 223;       // Of an iSCSI name. §4.2.7.1
inline constexpr size_t kKeyBytesMax = 63;         // §6.1
inline constexpr size_t kValueBytesMax = 255;      // Unless said otherwise.
inline constexpr uint32_t kLoginDataBytes = 8192;  // MaxRecvDataSegmentLength until declared.
inline constexpr uint32_t kMaxRecvDataSegmentLength = 65536;  // What we declare.
inline constexpr uint32_t kMaxBurstLength = 1024 * 1024;      // What we wish.
// Our bound on one negotiation, in each direction.
inline constexpr size_t kNegotiationBytesMax = 64 * 1024;

namespace key {
inline constexpr char kAuthMethod[] = "AuthMethod";
inline constexpr char kChapA[] = "CHAP_A";  // §12.1.3
inline constexpr char kChapC[] = "CHAP_C";
inline constexpr char kChapI[] = "CHAP_I";
inline constexpr char kChapN[] = "CHAP_N";
inline constexpr char kChapR[] = "CHAP_R";
inline constexpr char kDataDigest[] = "DataDigest";
inline constexpr char kDataPduInOrder[] = "DataPDUInOrder";
inline constexpr char kDataSequenceInOrder[] = "DataSequenceInOrder";
inline constexpr char kDefaultTime2Retain[] = "DefaultTime2Retain";
inline constexpr char kDefaultTime2Wait[] = "DefaultTime2Wait";
inline constexpr char kErrorRecoveryLevel[] = "ErrorRecoveryLevel";
inline constexpr char kFirstBurstLength[] = "FirstBurstLength";
inline constexpr char kHeaderDigest[] = "HeaderDigest";
inline constexpr char kIfMarker[] = "IFMarker";
inline constexpr char kIfMarkInt[] = "IFMarkInt";
inline constexpr char kImmediateData[] = "ImmediateData";
inline constexpr char kInitialR2t[] = "InitialR2T";
inline constexpr char kInitiatorAlias[] = "InitiatorAlias";
inline constexpr char kInitiatorName[] = "InitiatorName";
inline constexpr char kIscsiProtocolLevel[] = "iSCSIProtocolLevel";
inline constexpr char kMaxBurstLength[] = "MaxBurstLength";
inline constexpr char kMaxConnections[] = "MaxConnections";
inline constexpr char kMaxOutstandingR2t[] = "MaxOutstandingR2T";
inline constexpr char kMaxRecvDataSegmentLength[] = "MaxRecvDataSegmentLength";
inline constexpr char kOfMarker[] = "OFMarker";
inline constexpr char kOfMarkInt[] = "OFMarkInt";
inline constexpr char kSendTargets[] = "SendTargets";
inline constexpr char kSessionType[] = "SessionType";
inline constexpr char kTargetAddress[] = "TargetAddress";
inline constexpr char kTargetAlias[] = "TargetAlias";
inline constexpr char kTargetName[] = "TargetName";
inline constexpr char kTargetPortalGroupTag[] = "TargetPortalGroupTag";
inline constexpr char kTaskReporting[] = "TaskReporting";
}  // namespace key

namespace value {
inline constexpr char kYes[] = "Yes";
inline constexpr char kNo[] = "No";
inline constexpr char kNone[] = "None";
inline constexpr char kChap[] = "CHAP";
inline constexpr char kCrc32c[] = "CRC32C";
inline constexpr char kReject[] = "Reject";
inline constexpr char kIrrelevant[] = "Irrelevant";
inline constexpr char kNotUnderstood[] = "NotUnderstood";
inline constexpr char kNormal[] = "Normal";
inline constexpr char kDiscovery[] = "Discovery";
inline constexpr char kRfc3720[] = "RFC3720";
}  // namespace value

}  // namespace pollux::iscsi
