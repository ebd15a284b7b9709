// What a queue sends for its commands: capsules, and the data that R2Ts ask for.
#include <algorithm>
#include <bit>
#include <cstring>

#include "core/accel/crc32c.h"
#include "core/check.h"
#include "drivers/nvme/tcp_queue.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::CapsuleCmd;
using nvme_tcp::CommonHeader;
using nvme_tcp::DataPdu;
using nvme_tcp::kDigestBytes;
using nvme_tcp::PduType;

constexpr uint8_t kToController = 1, kFromController = 2;  // Opcode, bits 1:0. Base figure 87.

// Where an entry has its SGL descriptor.
struct DataPointer {
  Le64 first, second;
};

SglDescriptor TransportBlock(uint8_t type, uint64_t address, uint32_t length) {
  SglDescriptor descriptor{};
  descriptor.address = address;
  descriptor.length = length;
  descriptor.type = type;
  return descriptor;
}

}  // namespace

void TcpQueue::OnDoorbell(uint16_t tail) {
  if (state_ != State::kReady) return;
  while (sq_head_ != tail) {
    Take(parts_.sq[sq_head_]);
    if (++sq_head_ == parts_.depth) sq_head_ = 0;
  }
  if (!blocked_) Flush();
}

void TcpQueue::Take(const SubmissionEntry& entry) {
  const uint16_t cid = entry.cid;
  TcpCommand& command = commands_[cid & commands_mask_];
  CHECK(!command.busy);
  command.cid = cid;
  command.opc = entry.opc;
  command.busy = true;
  command.last_came = command.damaged = command.asked = false;
  command.received = command.given = 0;

  // One descriptor in the entry, or a segment of them in the slot's list: addresses are ours.
  command.one = std::bit_cast<SglDescriptor>(DataPointer{entry.prp1, entry.prp2});
  command.bytes = 0;
  if (command.one.type == kSglLastSegment) {
    command.pieces = reinterpret_cast<const SglDescriptor*>(TcpCommand::PlaceOf(command.one));
    command.piece_count = command.one.length / static_cast<uint32_t>(sizeof(SglDescriptor));
    for (uint32_t i = 0; i < command.piece_count; ++i) command.bytes += command.pieces[i].length;
  } else {
    command.pieces = &command.one;
    command.piece_count = 1;
    command.bytes = command.one.length;
  }
  const uint8_t direction =
      (entry.opc == admin::kFabrics ? static_cast<uint8_t>(entry.nsid) : entry.opc) & 3;
  command.writes = command.bytes > 0 && direction == kToController;
  command.reads = command.bytes > 0 && direction == kFromController;
  if (command.bytes > 0 && !command.writes && !command.reads) {
    // Both ways at once, or an opcode that has no data: there is no way to say it.
    return Complete(command, {0, 0, status::kInvalidField});
  }
  BuildCapsule(command, entry);
  Enqueue(command);
}

// Lengths, digests and what lies before the data.
inline void TcpQueue::FinishHeader(TcpCommand& command, size_t hlen, uint8_t flags) {
  auto& header = *reinterpret_cast<CommonHeader*>(command.header.data());
  header.hlen = static_cast<uint8_t>(hlen);
  if (command.data_bytes > 0 || header_digest_) return FinishOtherHeader(command, hlen, flags);
  header.flags = flags;
  header.pdo = 0;
  header.plen = command.header_bytes = static_cast<uint32_t>(hlen);
  command.digested = false;
}

void TcpQueue::BuildCapsule(TcpCommand& command, const SubmissionEntry& entry) {
  auto& capsule = *reinterpret_cast<CapsuleCmd*>(command.header.data());
  capsule.ch.type = PduType::kCapsuleCmd;
  capsule.sqe = entry;
  capsule.sqe.flags = static_cast<uint8_t>((entry.flags & (kFuseFirst | kFuseSecond)) | kPsdtSgl);
  // Every command of a fabric may carry as much on the admin queue, and Connect everywhere.
  const bool in_capsule =
      command.writes &&
      command.bytes <= (command.cid == kConnectCid ? sizeof(ConnectData) : in_capsule_bytes_);
  const SglDescriptor where = in_capsule ? TransportBlock(kSglDataBlockOffset, 0, command.bytes)
                                         : TransportBlock(kSglTransportDataBlock, 0, command.bytes);
  const auto pointer = std::bit_cast<DataPointer>(where);
  capsule.sqe.prp1 = pointer.first;
  capsule.sqe.prp2 = pointer.second;
  command.data_at = 0;
  command.data_bytes = in_capsule ? command.bytes : 0;
  command.given = command.data_bytes;
  FinishHeader(command, sizeof(CapsuleCmd), 0);
}

// As much as one PDU may carry of what the R2T asked for.
void TcpQueue::BuildData(TcpCommand& command) {
  auto& header = *reinterpret_cast<DataPdu*>(command.header.data());
  const uint32_t bytes = std::min(maxh2cdata_, command.asked_until - command.given);
  header = DataPdu{};
  header.ch.type = PduType::kH2CData;
  header.cccid = command.cid;
  header.ttag = command.ttag;
  header.datao = command.given;
  header.datal = bytes;
  command.data_at = command.given;
  command.data_bytes = bytes;
  command.given += bytes;
  const bool last = command.given == command.asked_until;
  FinishHeader(command, sizeof(DataPdu), last ? nvme_tcp::kLastPdu : uint8_t{0});
}

void TcpQueue::FinishOtherHeader(TcpCommand& command, size_t hlen, uint8_t flags) {
  auto& header = *reinterpret_cast<CommonHeader*>(command.header.data());
  const bool has_data = command.data_bytes > 0;
  command.digested = has_data && data_digest_;
  header.flags = static_cast<uint8_t>(flags | (header_digest_ ? nvme_tcp::kHdgstf : 0) |
                                      (command.digested ? nvme_tcp::kDdgstf : 0));
  const size_t digested_hlen = hlen + (header_digest_ ? kDigestBytes : 0);
  size_t begin = digested_hlen;
  if (has_data) {
    const size_t unit = (cpda_ + 1u) * 4;
    begin = (digested_hlen + unit - 1) / unit * unit;
    CHECK(begin <= command.header.size());
    std::memset(command.header.data() + digested_hlen, 0, begin - digested_hlen);
  }
  header.pdo = has_data ? static_cast<uint8_t>(begin) : uint8_t{0};
  header.plen = static_cast<uint32_t>(begin + command.data_bytes) +
                (command.digested ? static_cast<uint32_t>(kDigestBytes) : 0);
  if (header_digest_) {
    const Le32 digest = Crc32c({command.header.data(), hlen});
    std::memcpy(command.header.data() + hlen, &digest, sizeof(digest));
  }
  if (command.digested) {
    uint32_t crc = 0;
    command.ForPieces(command.data_at, command.data_bytes,
                      [&crc](const std::byte* at, uint32_t bytes) {
                        crc = Crc32c({at, bytes}, crc);
                        return true;
                      });
    command.digest = crc;
  }
  command.header_bytes = static_cast<uint32_t>(begin);
}

}  // namespace pollux::nvme
