#include <algorithm>

#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// READ CAPACITY(10) and (16). SBC-3 §5.12, §5.13.

namespace pollux::scsi {
namespace {

// An empty device has no last block; like others we then say 0.
uint64_t LastLba(Execution& e) { return e.blocks() == 0 ? 0 : e.blocks() - 1; }

void SendCapacity10(Execution& e) {
  ParameterData data(e.buffer());
  auto& capacity = data.Append<ReadCapacity10Data>();
  // FFFFFFFFh: ask with READ CAPACITY(16).
  capacity.returned_lba = static_cast<uint32_t>(std::min<uint64_t>(LastLba(e), UINT32_MAX));
  capacity.block_length = e.block_bytes();
  e.SendParameterData(data, data.size());
}

void SendCapacity16(Execution& e) {
  ParameterData data(e.buffer());
  auto& capacity = data.Append<ReadCapacity16Data>();
  capacity.returned_lba = LastLba(e);
  capacity.block_length = e.block_bytes();
  capacity.exponents = e.disk().physical_exponent;
  uint16_t provisioning = 0;
  if (e.disk().unmap) provisioning |= 0x8000;                                         // LBPME
  if (e.disk().unmap && e.disk().limits.unmapped_reads_zero) provisioning |= 0x4000;  // LBPRZ
  capacity.provisioning = provisioning;
  e.SendParameterData(data, e.Field<Be32>(10));
}

}  // namespace

void ReadCapacity10(Execution& e) {
  const bool pmi = e.cdb()[8] & 0x01;  // Obsolete; an LBA made sense only with it.
  if (!pmi && e.Field<Be32>(2) != 0) return e.EndWithSense(InvalidFieldInCdb(2));
  e.TakeBuffer(SendCapacity10);
}

void ReadCapacity16(Execution& e) { e.TakeBuffer(SendCapacity16); }

}  // namespace pollux::scsi
