#include "targets/nvmf/tcp/sgl.h"

#include "core/spec/nvmf_spec.h"

namespace pollux::nvmf {
namespace {

// The low bits of an opcode, and of a fabrics command's type. Base figure 138, §6
constexpr uint8_t kTransferMask = 0x03, kHostToController = 0x01, kControllerToHost = 0x02;
constexpr uint8_t kPsdtMask = 0xc0;

uint8_t TransferOf(const nvme::SubmissionEntry& entry) {
  const bool fabrics = entry.opc == nvme::admin::kFabrics;
  return (fabrics ? static_cast<uint8_t>(entry.nsid) : entry.opc) & kTransferMask;
}

DataPlan Faulty(DataPlan plan, uint16_t fault) {
  plan.fault = fault | nvme::status::kDnrBit;
  return plan;
}

}  // namespace

DataPlan PlanOf(const nvme::SubmissionEntry& entry, size_t capsule_bytes,
                size_t capsule_bytes_max) {
  // An SGL descriptor lies where PRPs do: an address, 4 bytes of length, and the type at the end.
  const uint64_t address = entry.prp1, length_and_type = entry.prp2;
  const auto bytes = static_cast<uint32_t>(length_and_type);
  const auto type = static_cast<uint8_t>(length_and_type >> 56);
  const uint8_t transfer = TransferOf(entry);

  DataPlan plan;
  if ((transfer != kHostToController && transfer != kControllerToHost) || bytes == 0) return plan;
  plan.bytes = bytes;
  plan.way = transfer == kHostToController ? DataPlan::Way::kFromHost : DataPlan::Way::kToHost;
  // Over fabrics there are no PRPs, and no SGL of metadata.
  if ((entry.flags & kPsdtMask) != nvme::kPsdtSgl) {
    return Faulty(plan, nvme::status::kInvalidField);
  }
  if (type == nvme::kSglTransportDataBlock) return plan;
  if (type != nvme::kSglDataBlockOffset || plan.way == DataPlan::Way::kToHost) {
    return Faulty(plan, nvme::status::kSglTypeInvalid);
  }
  plan.way = DataPlan::Way::kInCapsule;
  // No sum here can wrap: the first comparison bounds the one, the second the other.
  if (address > capsule_bytes) return Faulty(plan, nvme::status::kSglOffsetInvalid);
  if (bytes > capsule_bytes_max || bytes > capsule_bytes - address) {
    return Faulty(plan, nvme::status::kSglDataLengthInvalid);
  }
  plan.capsule_offset = static_cast<uint32_t>(address);
  return plan;
}

}  // namespace pollux::nvmf
