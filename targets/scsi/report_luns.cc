#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// REPORT LUNS. SPC-4 §6.33.

namespace pollux::scsi {
namespace {

constexpr uint8_t kAddressable = 0x00;  // Logical units but the well known ones.
constexpr uint8_t kWellKnown = 0x01;    // Of which we have none.
constexpr uint8_t kAll = 0x02;
static_assert(8 + kLunsMax * 8 <= ParameterData::kBytesMax);

void SendLuns(Execution& e) {
  ParameterData data(e.buffer());
  auto& length = data.Append<Be32>();
  data.Append<Be32>();
  for (int number = 0; number < kLunsMax && e.cdb()[2] != kWellKnown; ++number) {
    if (e.view().Find(number) == nullptr) continue;
    // Peripheral device addressing, on bus 0. SAM-5 §4.7.7.2.
    data.Append<Be64>(static_cast<uint64_t>(number) << 48);
  }
  length = static_cast<uint32_t>(data.size() - 8);
  e.ReportedLunsWereRead();
  e.SendParameterData(data, e.Field<Be32>(6));
}

}  // namespace

void ReportLuns(Execution& e) {
  const uint8_t select = e.cdb()[2];
  if (select != kAddressable && select != kWellKnown && select != kAll) {
    return e.EndWithSense(InvalidFieldInCdb(2));
  }
  e.TakeBuffer(SendLuns);
}

}  // namespace pollux::scsi
