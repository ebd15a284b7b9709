// NVM Express TCP Transport Specification 1.0c. Names are its own, in lower case. No behaviour.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "core/wire_int.h"

namespace pollux::nvme_tcp {

inline constexpr uint16_t kPort = 4420, kDiscoveryPort = 8009;

enum class PduType : uint8_t {  // Figure 14
  kICReq = 0x00,
  kICResp = 0x01,
  kH2CTermReq = 0x02,
  kC2HTermReq = 0x03,
  kCapsuleCmd = 0x04,
  kCapsuleResp = 0x05,
  kH2CData = 0x06,
  kC2HData = 0x07,
  kR2T = 0x09
};

struct CommonHeader {  // §3.6.1
  PduType type;
  uint8_t flags, hlen, pdo;
  Le32 plen;
};
static_assert(sizeof(CommonHeader) == 8);
inline constexpr uint8_t kHdgstf = 0x01;   // A header digest follows the header.
inline constexpr uint8_t kDdgstf = 0x02;   // A data digest follows the data.
inline constexpr uint8_t kLastPdu = 0x04;  // H2CData, C2HData
inline constexpr uint8_t kSuccess = 0x08;  // C2HData: no response capsule follows.
inline constexpr size_t kDigestBytes = 4;  // CRC32C, little-endian. §3.3.1

inline constexpr uint8_t kHdgstEnable = 0x01, kDdgstEnable = 0x02;
inline constexpr uint8_t kPdaMax = 31;  // Data lies at multiples of (PDA + 1) * 4 bytes.
inline constexpr uint32_t kMaxH2CDataMin = 4096;

struct ICReq {  // §3.6.2.2
  CommonHeader ch;
  Le16 pfv;
  uint8_t hpda, dgst;
  Le32 maxr2t;  // 0's based
  uint8_t reserved16[112];
};
static_assert(sizeof(ICReq) == 128);
struct ICResp {  // §3.6.2.3
  CommonHeader ch;
  Le16 pfv;
  uint8_t cpda, dgst;
  Le32 maxh2cdata;  // Bytes of data in one H2CData.
  uint8_t reserved16[112];
};
static_assert(sizeof(ICResp) == 128);

struct TermReq {  // Of either direction, then at most kTermReqDataMax bytes of the PDU at fault.
  CommonHeader ch;
  Le16 fes;
  Le32 fei;
  uint8_t reserved14[10];
};
static_assert(sizeof(TermReq) == 24);
inline constexpr size_t kTermReqDataMax = 128;
namespace fes {                                        // Fatal Error Status. §3.6.2.4, §3.6.2.5
inline constexpr uint16_t kInvalidHeaderField = 0x01;  // FEI: the field's offset
inline constexpr uint16_t kSequenceError = 0x02;       //
inline constexpr uint16_t kHeaderDigestError = 0x03;   // FEI: the digest received
inline constexpr uint16_t kDataTransferOutOfRange = 0x04;     //
inline constexpr uint16_t kDataTransferLimitExceeded = 0x05;  // In C2HTermReq
inline constexpr uint16_t kR2TLimitExceeded = 0x05;           // In H2CTermReq
inline constexpr uint16_t kUnsupportedParameter = 0x06;       // FEI: the field's offset
}  // namespace fes

struct CapsuleCmd {  // Then in-capsule data. §3.6.2.6
  CommonHeader ch;
  nvme::SubmissionEntry sqe;
};
static_assert(sizeof(CapsuleCmd) == 72);
struct CapsuleResp {  // §3.6.2.7
  CommonHeader ch;
  nvme::CompletionEntry cqe;
};
static_assert(sizeof(CapsuleResp) == 24);

struct DataPdu {  // H2CData and C2HData, which has no TTAG. §3.6.2.8, §3.6.2.9
  CommonHeader ch;
  Le16 cccid, ttag;
  Le32 datao, datal;
  uint8_t reserved20[4];
};
static_assert(sizeof(DataPdu) == 24);
struct R2T {  // §3.6.2.10
  CommonHeader ch;
  Le16 cccid, ttag;
  Le32 r2to, r2tl;
  uint8_t reserved20[4];
};
static_assert(sizeof(R2T) == 24);

}  // namespace pollux::nvme_tcp
