#include <algorithm>

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
  if (!e.unit()->write_protected()) return std::nullopt;
  return Sense{SenseKey::kDataProtect, AdditionalSense::kWriteProtected};
}

void TakeWholeBlocks(Execution& e, Execution::Step next) {
  if (const auto sense = CheckWritable(e)) return e.EndWithSense(*sense);
  const BlockRange range = ParseBlockRange(e);
  if (const auto sense = CheckRange(e, range.lba, range.blocks)) return e.EndWithSense(*sense);
  const uint64_t block_bytes = e.block_bytes();
  e.command().data_bytes = range.blocks * block_bytes;
  const uint64_t bytes = std::min<uint64_t>(e.command().data_bytes, e.command().data_out_max);
  if (bytes % block_bytes != 0) return EndWithWrongLength(e, e.command().data_bytes);
  e.transfer.lba = range.lba;
  e.transfer.blocks = bytes / block_bytes;
  if (e.transfer.blocks == 0) return e.EndGood();
  e.TakeBuffer(next);
}

void EndAfterWrite(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  e.EndGood();
}

void EndWithWrongLength(Execution& e, uint64_t data_bytes) {
  e.command().data_bytes = data_bytes;
  e.EndWithSense(IllegalRequest(AdditionalSense::kInvalidFieldInInformationUnit));
}

}  // namespace pollux::scsi
