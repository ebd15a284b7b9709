#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// Commands about the state of the logical unit. SPC-4 §6.39, §6.43, §6.47; SBC-3 §5.23, §5.26.

namespace pollux::scsi {
namespace {

void SendSense(Execution& e) {
  Sense sense;
  if (e.unit() == nullptr) {
    sense = IllegalRequest(AdditionalSense::kUnitNotSupported);
  } else if (e.unit_attentions().any()) {
    const UnitAttention condition = e.unit_attentions().Take();
    if (condition == UnitAttention::kReportedLunsChanged) e.ReportedLunsWereRead();
    sense = SenseOf(condition);
  } else {
    sense = SenseOf(e.unit()->status);
  }
  std::array<uint8_t, Command::kSenseBytesMax> bytes;
  const size_t count = EncodeSense(sense, /*descriptor_format=*/e.cdb()[1] & 0x01, bytes);
  ParameterData data(e.buffer());
  data.AppendBytes({bytes.data(), count});
  e.SendParameterData(data, e.cdb()[4]);
}

void Flush(Execution& e) {
  if (!e.disk().flush) return e.EndGood();
  e.SubmitRange(IoType::kFlush, 0, e.blocks(), EndAfterWrite);
}

}  // namespace

void TestUnitReady(Execution& e) { e.EndGood(); }

void RequestSense(Execution& e) { e.TakeBuffer(SendSense); }

// The default self-test passes; there is no other.
void SendDiagnostic(Execution& e) {
  if (e.cdb()[1] & 0xe0) return e.EndWithSense(InvalidFieldInCdb(1, 7));  // SELF-TEST CODE
  if (e.Field<Be16>(3) != 0) return e.EndWithSense(InvalidFieldInCdb(3));
  e.EndGood();
}

// The whole cache, whatever the range. With IMMED the status comes no earlier, which is allowed.
void SynchronizeCache(Execution& e) {
  const BlockRange range = ParseBlockRange(e);
  if (const auto sense = CheckRange(e, range.lba, range.blocks)) return e.EndWithSense(*sense);
  Flush(e);
}

}  // namespace pollux::scsi
