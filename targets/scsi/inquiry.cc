#include "targets/scsi/inquiry.h"

#include "targets/scsi/commands.h"

// INQUIRY. SPC-4 §6.6.

namespace pollux::scsi {
namespace {

// SPC-4 table 148.
constexpr uint16_t kSam5 = 0x00a0, kIscsi = 0x0960, kSpc4 = 0x0460, kSbc3 = 0x04c0;

void SendStandardInquiry(Execution& e) {
  ParameterData data(e.buffer());
  auto& inquiry = data.Append<StandardInquiry>();
  SetText(inquiry.vendor, kVendor);
  SetText(inquiry.revision, kRevision);
  if (e.unit() == nullptr) {
    inquiry.peripheral = kNoSuchUnit;
    SetText(inquiry.product, "");
  } else {
    SetText(inquiry.product, e.disk().product);
    inquiry.rmb = e.disk().removable ? 0x80 : 0;
    inquiry.flags5 = 0x10 | 0x08;  // TPGS: implicit asymmetric access; 3PC
    const uint16_t versions[] = {kSam5, kIscsi, kSpc4, kSbc3};
    std::copy(std::begin(versions), std::end(versions), inquiry.version_descriptors);
  }
  e.SendParameterData(data, e.Field<Be16>(3));
}

void SendVpdPage(Execution& e) {
  ParameterData data(e.buffer());
  if (!AppendVpdPage(e, e.cdb()[2], data)) return e.EndWithSense(InvalidFieldInCdb(2));
  e.SendParameterData(data, e.Field<Be16>(3));
}

}  // namespace

void Inquiry(Execution& e) {
  const bool evpd = e.cdb()[1] & 0x01, cmddt = e.cdb()[1] & 0x02;
  if (cmddt) return e.EndWithSense(InvalidFieldInCdb(1, 1));
  if (evpd) return e.TakeBuffer(SendVpdPage);
  if (e.cdb()[2] != 0) return e.EndWithSense(InvalidFieldInCdb(2));
  e.TakeBuffer(SendStandardInquiry);
}

}  // namespace pollux::scsi
