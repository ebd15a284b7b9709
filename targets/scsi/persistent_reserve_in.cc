#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"
#include "targets/scsi/transport_id.h"
#include "targets/scsi/unit_reservations.h"

// PERSISTENT RESERVE IN. SPC-4 §6.13.

namespace pollux::scsi {
namespace {

const PersistentReservations& StateOf(Execution& e) {
  return e.unit()->reservation_state->persistent;
}

// What does not fit into the buffer is counted, and not shown.
ParameterData Whole(Execution& e) { return ParameterData(e.buffer(), e.buffer_bytes()); }

void Send(Execution& e, const ParameterData& data) { e.SendParameterData(data, e.Field<Be16>(7)); }

void SendKeys(Execution& e) {
  const PersistentReservations& state = StateOf(e);
  ParameterData data = Whole(e);
  auto& header = data.Append<PersistentReserveInHeader>();
  header.prgeneration = state.generation();
  header.additional_length = static_cast<uint32_t>(sizeof(Be64) * state.registrations().size());
  for (const Registration& r : state.registrations()) data.Append<Be64>(r.key);
  Send(e, data);
}

void SendReservation(Execution& e) {
  const PersistentReservations& state = StateOf(e);
  ParameterData data = Whole(e);
  auto& header = data.Append<PersistentReserveInHeader>();
  header.prgeneration = state.generation();
  if (state.reserved()) {
    header.additional_length = uint32_t{sizeof(ReservationDescriptor)};
    auto& descriptor = data.Append<ReservationDescriptor>();
    descriptor.scope_type = static_cast<uint8_t>(state.type());
    for (const Registration& r : state.registrations()) {
      // With all registrants as holders there is no key to name.
      if (!IsAllRegistrants(state.type()) && state.Holds(r)) descriptor.reservation_key = r.key;
    }
  }
  Send(e, data);
}

void SendCapabilities(Execution& e) {
  ParameterData data(e.buffer());
  auto& capabilities = data.Append<ReservationCapabilities>();
  capabilities.flags2 = 0x08 | 0x04;                                       // SIP_C, ATP_C
  if (e.unit()->reservations->can_persist()) capabilities.flags2 |= 0x01;  // PTPL_C
  capabilities.flags3 = 0x80;                                              // TMV
  if (StateOf(e).aptpl()) capabilities.flags3 |= 0x01;                     // PTPL_A
  capabilities.types[0] = 0x80 | 0x40 | 0x20 | 0x08 | 0x02;
  capabilities.types[1] = 0x01;
  Send(e, data);
}

void SendFullStatus(Execution& e) {
  const PersistentReservations& state = StateOf(e);
  ParameterData data = Whole(e);
  auto& header = data.Append<PersistentReserveInHeader>();
  header.prgeneration = state.generation();
  uint32_t all = 0;
  for (const Registration& r : state.registrations()) {
    const std::vector<uint8_t> transport_id = EncodeTransportId(r.nexus.initiator_port);
    const size_t bytes = sizeof(FullStatusDescriptor) + transport_id.size();
    all += static_cast<uint32_t>(bytes);
    if (all > data.room() + data.size() - sizeof(header) || bytes > data.room()) continue;
    auto& descriptor = data.Append<FullStatusDescriptor>();
    descriptor.reservation_key = r.key;
    if (r.all_ports) descriptor.flags12 |= 0x02;  // ALL_TG_PT
    if (state.Holds(r)) {
      descriptor.flags12 |= 0x01;  // R_HOLDER
      descriptor.scope_type = static_cast<uint8_t>(state.type());
    }
    descriptor.relative_target_port = r.nexus.target_port;
    descriptor.additional_length = static_cast<uint32_t>(transport_id.size());
    data.AppendBytes(transport_id);
  }
  header.additional_length = all;
  Send(e, data);
}

// SPC-2 §5.5.1: not while RESERVE(6) holds the unit, by this nexus or another.
void Start(Execution& e, Execution::Step send) {
  if (e.unit()->reservation_state->reserved_by != 0) return e.EndWithConflict();
  e.TakeBuffer(send);
}

}  // namespace

void ReadKeys(Execution& e) { Start(e, SendKeys); }
void ReadReservation(Execution& e) { Start(e, SendReservation); }
void ReportCapabilities(Execution& e) { Start(e, SendCapabilities); }
void ReadFullStatus(Execution& e) { Start(e, SendFullStatus); }

}  // namespace pollux::scsi
