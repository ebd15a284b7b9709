// What a target says of the commands that it has: data, requests for data, responses.
#include <cstring>
#include <utility>

#include "drivers/nvme/tcp_queue.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::CapsuleResp;
using nvme_tcp::CommonHeader;
using nvme_tcp::DataPdu;
using nvme_tcp::Pdu;
namespace fes = nvme_tcp::fes;

}  // namespace

void TcpQueue::OnResponse(const Pdu& pdu) {
  const CompletionEntry& entry = reinterpret_cast<const CapsuleResp*>(pdu.header)->cqe;
  TcpCommand* const command = Find(entry.cid);
  if (command == nullptr) {
    return Refuse(fes::kInvalidHeaderField,
                  offsetof(CapsuleResp, cqe) + offsetof(CompletionEntry, cid),
                  "a response to a command that the target does not have", pdu);
  }
  if (command->queued || command->asked) {
    return Refuse(fes::kSequenceError, 0, "a response to a command that is still being sent", pdu);
  }
  const auto ended = static_cast<uint16_t>(entry.status >> 1);
  const bool ok = (ended & 0x7ff) == 0;
  // Memory that the target did not fill must not pass for what was read.
  if (ok && parts_.id != 0 && command->reads && command->received < command->bytes) {
    return Refuse(fes::kDataTransferOutOfRange, 0, "a read succeeded without all of its data", pdu);
  }
  if (ok && parts_.id != 0 && command->writes && command->given < command->bytes) {
    return Refuse(fes::kSequenceError, 0, "a write succeeded without all of its data", pdu);
  }
  Complete(*command, {entry.dw0, entry.dw1, ended});
}

void TcpQueue::Complete(TcpCommand& command, pollux_nvme_completion completion) {
  command.busy = false;
  if (command.damaged && pollux_nvme_ok(completion)) {
    completion.status = status::kTransientTransportError;
  }
  if (command.cid != kConnectCid) return Post(command.cid, completion);
  joined_ = completion;
  if (pollux_nvme_ok(completion)) return Enter(State::kReady);
  char text[96];
  pollux_nvme_status_text(completion.status, text, sizeof(text));
  Break(InternalError("queue %u: Connect: %s (0x%x)", parts_.id, text, completion.dw0));
}

// There is room: no more are in flight than the ring has entries, and each ends once.
void TcpQueue::Post(uint16_t cid, pollux_nvme_completion completion) {
  CompletionEntry& entry = parts_.cq[cq_tail_];
  entry.dw0 = completion.dw0;
  entry.dw1 = completion.dw1;
  entry.sqhd = 0;
  entry.sqid = parts_.id;
  entry.cid = cid;
  entry.status = static_cast<uint16_t>(completion.status << 1 | cq_phase_);
  if (++cq_tail_ < parts_.depth) return;
  cq_tail_ = 0;
  cq_phase_ ^= 1;
}

void TcpQueue::OnData(const Pdu& pdu) {
  const auto& header = *reinterpret_cast<const DataPdu*>(pdu.header);
  TcpCommand* const command = Find(header.cccid);
  if (command == nullptr || !command->reads || command->queued) {
    return Refuse(fes::kInvalidHeaderField, offsetof(DataPdu, cccid),
                  "data for a command that asked for none", pdu);
  }
  const bool last = (header.ch.flags & nvme_tcp::kLastPdu) != 0;
  const bool success = (header.ch.flags & nvme_tcp::kSuccess) != 0;
  if (success && !last) {
    return Refuse(fes::kInvalidHeaderField, offsetof(CommonHeader, flags),
                  "SUCCESS before the last data", pdu);
  }
  if (command->last_came) {
    return Refuse(fes::kSequenceError, 0, "data behind the last", pdu);
  }
  const uint32_t bytes = pdu.data_bytes();
  if (bytes == 0 || header.datao != command->received ||
      bytes > command->bytes - command->received) {
    return Refuse(fes::kDataTransferOutOfRange, offsetof(DataPdu, datao),
                  "data beyond what the command reads, or not in order", pdu);
  }
  if (success && parts_.id != 0 && command->received + bytes < command->bytes) {
    return Refuse(fes::kDataTransferOutOfRange, offsetof(DataPdu, datal),
                  "a read succeeded without all of its data", pdu);
  }
  const std::byte* from = pdu.data.data();
  if (command->piece_count == 1) {
    std::memcpy(TcpCommand::PlaceOf(command->pieces[0]) + command->received, from, pdu.data.size());
  } else {
    command->ForPieces(command->received, static_cast<uint32_t>(pdu.data.size()),
                       [&from](std::byte* at, uint32_t part) {
                         std::memcpy(at, from, part);
                         from += part;
                         return true;
                       });
  }
  command->received += static_cast<uint32_t>(pdu.data.size());
  command->last_came = last;
  streaming_ = command;
  streaming_success_ = success;
  if (pdu.rest == 0) OnDataEnd(pdu.digest_ok);
}

void TcpQueue::OnDataEnd(bool digest_ok) {
  TcpCommand& command = *std::exchange(streaming_, nullptr);
  if (!digest_ok) command.damaged = true;
  if (streaming_success_) Complete(command, {});
}

void TcpQueue::OnR2T(const Pdu& pdu) {
  const auto& header = *reinterpret_cast<const nvme_tcp::R2T*>(pdu.header);
  TcpCommand* const command = Find(header.cccid);
  if (command == nullptr || !command->writes || command->queued) {
    return Refuse(
        command != nullptr && command->asked ? fes::kR2TLimitExceeded : fes::kInvalidHeaderField,
        offsetof(nvme_tcp::R2T, cccid), "a request for data that no command has", pdu);
  }
  if (command->asked) {
    return Refuse(fes::kR2TLimitExceeded, 0, "a second request for data before the first is met",
                  pdu);
  }
  const uint32_t offset = header.r2to, bytes = header.r2tl;
  if (bytes == 0 || offset != command->given || bytes > command->bytes - command->given) {
    return Refuse(fes::kDataTransferOutOfRange, offsetof(nvme_tcp::R2T, r2to),
                  "a request for data beyond the command's, or not in order", pdu);
  }
  command->asked = true;
  command->ttag = header.ttag;
  command->asked_until = offset + bytes;
  BuildData(*command);
  Enqueue(*command);
}

}  // namespace pollux::nvme
