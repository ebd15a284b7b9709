#include "targets/scsi/command_table.h"
#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS. SPC-4 §6.36, §6.37.

namespace pollux::scsi {
namespace {

enum ReportingOption : uint8_t { kEverything, kOneOpcode, kOneServiceAction, kEither };

bool WantsTimeouts(const Execution& e) { return e.cdb()[2] & 0x80; }

void SendAll(Execution& e) {
  ParameterData data(e.buffer());
  auto& length = data.Append<Be32>();
  for (const CommandInfo& info : AllCommands()) {
    if (!Supports(info, e.disk())) continue;
    auto& descriptor = data.Append<CommandDescriptor>();
    descriptor.opcode = info.opcode;
    if (info.service_action != CommandInfo::kNoServiceAction) {
      descriptor.service_action = static_cast<uint16_t>(info.service_action);
      descriptor.flags5 |= 0x01;  // SERVACTV
    }
    descriptor.cdb_length = info.cdb_bytes;
    if (WantsTimeouts(e)) {
      descriptor.flags5 |= 0x02;  // CTDP
      data.Append<CommandTimeouts>();
    }
  }
  length = static_cast<uint32_t>(data.size() - sizeof(length));
  e.SendParameterData(data, e.Field<Be32>(6));
}

// The command that the CDB asks about, or null.
const CommandInfo* FindAsked(Execution& e) {
  const uint16_t action = e.Field<Be16>(4);
  for (const CommandInfo& info : CommandsOf(e.cdb()[3])) {
    if (!Supports(info, e.disk())) continue;
    if (info.service_action == CommandInfo::kNoServiceAction) {
      if (action == 0 || (e.cdb()[2] & 0x07) != kEither) return &info;
    } else if (info.service_action == action) {
      return &info;
    }
  }
  return nullptr;
}

void SendOne(Execution& e) {
  constexpr uint8_t kNotSupported = 0x01, kSupported = 0x03;
  ParameterData data(e.buffer());
  const CommandInfo* info = FindAsked(e);
  data.Append<uint8_t>();
  auto& support = data.Append<uint8_t>(info == nullptr ? kNotSupported : kSupported);
  data.Append<Be16>(info == nullptr ? uint16_t{0} : info->cdb_bytes);
  if (info != nullptr) data.AppendBytes(std::span(info->usage).first(info->cdb_bytes));
  if (info != nullptr && WantsTimeouts(e)) {
    support |= 0x80;  // CTDP
    data.Append<CommandTimeouts>();
  }
  e.SendParameterData(data, e.Field<Be32>(6));
}

void SendFunctions(Execution& e) {
  ParameterData data(e.buffer());
  // ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET.
  data.Append<uint8_t>(0x80 | 0x40 | 0x10 | 0x08 | 0x02);
  data.Append<std::array<uint8_t, 3>>();
  if (e.cdb()[2] & 0x80) {  // REPD: the extended form, with no timeouts to speak of.
    e.buffer()[3] = std::byte{0x0c};
    data.Append<std::array<uint8_t, 12>>();
  }
  e.SendParameterData(data, e.Field<Be32>(6));
}

}  // namespace

void ReportSupportedOpcodes(Execution& e) {
  const std::span<const CommandInfo> asked = CommandsOf(e.cdb()[3]);
  const bool has_actions =
      !asked.empty() && asked[0].service_action != CommandInfo::kNoServiceAction;
  switch (e.cdb()[2] & 0x07) {
    case kEverything:
      return e.TakeBuffer(SendAll);
    case kOneOpcode:
      if (has_actions) break;
      return e.TakeBuffer(SendOne);
    case kOneServiceAction:
      if (!asked.empty() && !has_actions) break;
      return e.TakeBuffer(SendOne);
    case kEither:
      return e.TakeBuffer(SendOne);
  }
  e.EndWithSense(InvalidFieldInCdb(2, 2));
}

void ReportSupportedFunctions(Execution& e) { e.TakeBuffer(SendFunctions); }

}  // namespace pollux::scsi
