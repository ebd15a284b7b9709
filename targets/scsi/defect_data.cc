#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// READ DEFECT DATA(10) and (12). SBC-3 §5.17, §5.18.

namespace pollux::scsi {
namespace {

constexpr uint8_t kPlistGlistMask = 0x18, kFormatMask = 0x07;

void SendEmptyList(Execution& e) {
  const bool is_long = e.cdb()[0] == kReadDefectData12;
  const uint8_t asked = e.cdb()[is_long ? 1 : 2];
  ParameterData data(e.buffer());
  data.Append<uint8_t>();
  data.Append<uint8_t>(asked & (kPlistGlistMask | kFormatMask));
  if (is_long) {
    data.Append<std::array<uint8_t, 6>>();
  } else {
    data.Append<Be16>();
  }
  const uint32_t allocation_length =
      is_long ? uint32_t{e.Field<Be32>(6)} : uint32_t{e.Field<Be16>(7)};
  e.SendParameterData(data, allocation_length);
}

}  // namespace

// Whatever a device has put out of service, its own controller has replaced: the lists are empty.
void ReadDefectData(Execution& e) { e.TakeBuffer(SendEmptyList); }

}  // namespace pollux::scsi
