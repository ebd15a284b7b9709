#include <algorithm>

#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// GET LBA STATUS. SBC-3 §5.3.

namespace pollux::scsi {
namespace {

// Block devices do not tell which blocks they keep, so all are reported as mapped: one descriptor
// from the block that was asked for to the end, which the standard allows to be more than is known.
void SendStatus(Execution& e) {
  ParameterData data(e.buffer());
  auto& status = data.Append<LbaStatusData>();
  const uint64_t lba = e.Field<Be64>(2);
  status.parameter_data_length = sizeof(LbaStatusData) - sizeof(Be32);
  status.lba = lba;
  status.blocks = static_cast<uint32_t>(std::min<uint64_t>(e.blocks() - lba, UINT32_MAX));
  e.SendParameterData(data, e.Field<Be32>(10));
}

}  // namespace

void GetLbaStatus(Execution& e) {
  // A block must be named, not the place after the last one.
  if (const auto sense = CheckRange(e, e.Field<Be64>(2), 1)) return e.EndWithSense(*sense);
  e.TakeBuffer(SendStatus);
}

}  // namespace pollux::scsi
