#include "targets/scsi/commands.h"

namespace pollux::scsi {

BlockRange ParseBlockRange(const Execution& e) {
  switch (e.cdb()[0] >> 5) {
    case 0: {  // Six bytes: 21 bits of LBA, and 0 stands for 256 blocks. SBC-3 §5.7.
      const uint8_t length = e.cdb()[4];
      return {e.Field<Be24>(1) & 0x1fffffu, length == 0 ? 256u : length, 4};
    }
    case 4:
      return {e.Field<Be64>(2), e.Field<Be32>(10), 10};
    case 5:
      return {e.Field<Be32>(2), e.Field<Be32>(6), 6};
    default:
      return {e.Field<Be32>(2), e.Field<Be16>(7), 7};
  }
}

std::optional<Sense> CheckRange(Execution& e, uint64_t lba, uint64_t blocks) {
  if (lba <= e.blocks() && blocks <= e.blocks() - lba) return std::nullopt;
  return IllegalRequest(AdditionalSense::kLbaOutOfRange);
}

std::optional<Sense> CheckWritable(Execution& e) {
  if (!e.disk().read_only) return std::nullopt;
  return Sense{SenseKey::kDataProtect, AdditionalSense::kWriteProtected};
}

void EndAfterWrite(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  e.EndGood();
}

void EndShortOfData(Execution& e, uint64_t data_bytes) {
  e.command().data_bytes = data_bytes;
  e.EndWithSense(IllegalRequest(AdditionalSense::kInvalidFieldInInformationUnit));
}

}  // namespace pollux::scsi
