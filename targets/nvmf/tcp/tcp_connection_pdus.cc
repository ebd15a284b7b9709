// What the PDUs of a host mean.
#include <algorithm>

#include "core/check.h"
#include "core/spec/nvmf_spec.h"
#include "targets/nvmf/tcp/tcp_connection.h"

namespace pollux::nvmf {

using namespace nvme_tcp;

void TcpConnection::OnPdu(const Pdu& pdu) {
  const PduType type = pdu.header->type;
  switch (state_) {
    case State::kAwaitIcReq:
      if (type == PduType::kICReq) return OnIcReq(pdu);
      if (type == PduType::kH2CTermReq) return OnTermReq(pdu);
      return Violate(pdu, fes::kSequenceError, 0, "a PDU before ICReq");
    case State::kReady:
      if (type == PduType::kCapsuleCmd) return OnCapsule(pdu);
      if (type == PduType::kH2CData) return OnH2CData(pdu);
      if (type == PduType::kH2CTermReq) return OnTermReq(pdu);
      return Violate(pdu, fes::kSequenceError, 0, "a second ICReq");
    case State::kTerminating:
    case State::kClosing:
    case State::kDraining:
    case State::kEnded:
      return;  // Whatever the host still sends is dropped.
  }
}

void TcpConnection::Violate(const Pdu& pdu, uint16_t fes, uint32_t fei, const char* reason) {
  const auto* const header = reinterpret_cast<const std::byte*>(pdu.header);
  OnViolation({fes, fei, reason, {header, pdu.header->hlen}});
}

// TCP §3.2, §3.6.2.2. Any MAXR2T will do, since there is one R2T of a command at a time.
void TcpConnection::OnIcReq(const Pdu& pdu) {
  const auto& request = reinterpret_cast<const ICReq&>(*pdu.header);
  if (request.pfv != 0) {
    return Violate(pdu, fes::kUnsupportedParameter, offsetof(ICReq, pfv),
                   "ICReq asks for another version");
  }
  if (request.hpda > kPdaMax) {
    return Violate(pdu, fes::kInvalidHeaderField, offsetof(ICReq, hpda), "HPDA is out of range");
  }
  agreed_.header_digest = (request.dgst & kHdgstEnable) != 0;
  agreed_.data_digest = (request.dgst & kDdgstEnable) != 0;
  const size_t alignment = (request.hpda + size_t{1}) * 4;
  const size_t head = sizeof(DataPdu) + (agreed_.header_digest ? kDigestBytes : 0);
  agreed_.c2h_pdo = static_cast<uint8_t>((head + alignment - 1) / alignment * alignment);
  reader_.Agree(
      {.header_digest = agreed_.header_digest, .data_digest = agreed_.data_digest, .pda = 0});

  ICResp& response = ic_resp_.pdu;
  response.ch = {PduType::kICResp, 0, sizeof(ICResp), 0, uint32_t{sizeof(ICResp)}};
  response.dgst = request.dgst & (kHdgstEnable | kDdgstEnable);
  response.maxh2cdata = kMaxH2CDataBytes;
  ic_resp_.parts[0] = {&response, sizeof(response)};
  ic_resp_.part_count = 1;
  Enter(State::kReady);
  Send(ic_resp_);
}

void TcpConnection::OnCapsule(const Pdu& pdu) {
  const auto& capsule = reinterpret_cast<const CapsuleCmd&>(*pdu.header);
  if (pdu.data_bytes() > kAdminCapsuleBytes) [[unlikely]] {
    return Violate(pdu, fes::kDataTransferLimitExceeded, 0, "more in-capsule data than we take");
  }
  const bool of_io =
      queue_.state() == Queue::State::kIo && capsule.sqe.opc != nvme::admin::kFabrics;
  const DataPlan plan = PlanOf(capsule.sqe, pdu.data.size(),
                               of_io ? group_.options().in_capsule_data_size : kAdminCapsuleBytes);
  TcpCommand& command = commands_.Take();
  command.Begin(capsule.sqe, plan, pdu.data, pdu.digest_ok);
  if (plan.fault != 0 && plan.way == DataPlan::Way::kToHost) [[unlikely]] {
    return queue_.Refuse(command, plan.fault);
  }
  if (!MayStart(command)) [[unlikely]]
    return waiting_.PushBack(command);
  if (queue_.state() == Queue::State::kIo) {
    fused_open_ = (capsule.sqe.flags & nvme::kFuseFirst) != 0;
  }
  Start(command);
  if (command.lends_capsule_data()) [[unlikely]]
    lent_.PushBack(command);
  if (!waiting_.empty()) [[unlikely]]
    StartWaiting();
}

// TCP §3.6.2.8. No sum here can wrap: lengths are compared with what is left.
void TcpConnection::OnH2CData(const Pdu& pdu) {
  const auto& header = reinterpret_cast<const DataPdu&>(*pdu.header);
  const uint16_t ttag = header.ttag;
  const uint32_t bytes = header.datal;
  TcpCommand* const command = ttag == 0 ? nullptr : commands_.At(TcpCommand::IndexOf(ttag));
  if (command == nullptr || command->ttag() != ttag) {
    return Violate(pdu, fes::kInvalidHeaderField, offsetof(DataPdu, ttag),
                   "H2CData for a transfer tag that is not outstanding");
  }
  if (header.cccid != command->cid()) {
    return Violate(pdu, fes::kInvalidHeaderField, offsetof(DataPdu, cccid),
                   "H2CData whose CCCID is not that of its transfer tag");
  }
  if (bytes == 0) {
    return Violate(pdu, fes::kInvalidHeaderField, offsetof(DataPdu, datal), "H2CData without data");
  }
  if (bytes > kMaxH2CDataBytes) {
    return Violate(pdu, fes::kDataTransferLimitExceeded, 0, "H2CData of more than MAXH2CDATA");
  }
  if (header.datao != command->r2t_next() || bytes > command->r2t_left()) {
    return Violate(pdu, fes::kDataTransferOutOfRange, 0, "H2CData out of order or beyond its R2T");
  }
  const bool last = (header.ch.flags & kLastPdu) != 0;
  if (last != (bytes == command->r2t_left())) {
    return Violate(pdu, fes::kInvalidHeaderField, offsetof(CommonHeader, flags),
                   "LAST_PDU does not say whether all of the R2T has come");
  }
  command->TakeData(pdu.data);
  if (pdu.rest > 0) {
    streaming_ = command;
  } else {
    command->EndPdu(pdu.digest_ok);
  }
}

void TcpConnection::OnTermReq(const Pdu& pdu) {
  const auto& request = reinterpret_cast<const TermReq&>(*pdu.header);
  group_.worker().log().Notice("%s terminates the connection: FES %d, FEI %d", Who(),
                               static_cast<uint16_t>(request.fes),
                               static_cast<uint32_t>(request.fei));
  Close("its host sent a terminate request");
}

}  // namespace pollux::nvmf
