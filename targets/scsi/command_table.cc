#include "targets/scsi/command_table.h"

#include <algorithm>

#include "targets/scsi/commands.h"

namespace pollux::scsi {
namespace {

constexpr int kNone = CommandInfo::kNoServiceAction;

bool CanUnmap(const DiskFacts& disk) { return disk.unmap; }
bool CanCompareAndWrite(const DiskFacts& disk) { return disk.compare_and_write; }

using Usage = std::array<uint8_t, 16>;
using Supported = bool (*)(const DiskFacts&);

constexpr CommandInfo Plain(uint8_t opcode, uint8_t cdb_bytes, Execution::Step start, Usage usage,
                            Supported supported = nullptr) {
  return {opcode, kNone, cdb_bytes, Admission::kNormal, start, supported, usage};
}
constexpr CommandInfo Always(uint8_t opcode, uint8_t cdb_bytes, Execution::Step start,
                             Usage usage) {
  return {opcode, kNone, cdb_bytes, Admission::kAlways, start, nullptr, usage};
}
constexpr CommandInfo Action(uint8_t opcode, int service_action, uint8_t cdb_bytes,
                             Execution::Step start, Usage usage) {
  return {opcode, service_action, cdb_bytes, Admission::kNormal, start, nullptr, usage};
}
// Known, and not built yet: reservations, extended copy, ALUA.
constexpr CommandInfo Later(uint8_t opcode, uint8_t cdb_bytes, int service_action = kNone) {
  return {opcode, service_action, cdb_bytes, Admission::kNormal, nullptr, nullptr, {}};
}

constexpr uint8_t ff = 0xff;
constexpr uint8_t kControl = kNaca;

// In the order of opcodes. The bytes are CDB USAGE DATA: what is looked at.
constexpr CommandInfo kCommands[] = {
    Plain(kTestUnitReady, 6, TestUnitReady, {0x00, 0, 0, 0, 0, kControl}),
    Always(kRequestSense, 6, RequestSense, {0x03, 0x01, 0, 0, ff, kControl}),
    Plain(kRead6, 6, Read, {0x08, 0x1f, ff, ff, ff, kControl}),
    Plain(kWrite6, 6, Write, {0x0a, 0x1f, ff, ff, ff, kControl}),
    Always(kInquiry, 6, Inquiry, {0x12, 0x03, ff, ff, ff, kControl}),
    Plain(kModeSelect6, 6, ModeSelect6, {0x15, 0x11, 0, 0, ff, kControl}),
    Later(kReserve6, 6),
    Later(kRelease6, 6),
    Plain(kModeSense6, 6, ModeSense6, {0x1a, 0x08, ff, ff, ff, kControl}),
    Plain(kStartStopUnit, 6, StartStopUnit, {0x1b, 0, 0, 0, 0xf7, kControl}),
    Plain(kSendDiagnostic, 6, SendDiagnostic, {0x1d, 0xe0, 0, ff, ff, kControl}),
    Plain(kPreventAllowMediumRemoval, 6, PreventAllowMediumRemoval, {0x1e, 0, 0, 0, 3, kControl}),
    Plain(kReadCapacity10, 10, ReadCapacity10, {0x25, 0, ff, ff, ff, ff, 0, 0, 0x01, kControl}),
    Plain(kRead10, 10, Read, {0x28, 0xf8, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kWrite10, 10, Write, {0x2a, 0xf8, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kVerify10, 10, Verify, {0x2f, 0xf6, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kSynchronizeCache10, 10, SynchronizeCache,
          {0x35, 0x02, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kWriteSame10, 10, WriteSame, {0x41, 0xfe, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kUnmap, 10, Unmap, {0x42, 0x01, 0, 0, 0, 0, 0, ff, ff, kControl}, CanUnmap),
    Plain(kModeSelect10, 10, ModeSelect10, {0x55, 0x11, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Later(kReserve10, 10),
    Later(kRelease10, 10),
    Plain(kModeSense10, 10, ModeSense10, {0x5a, 0x18, ff, ff, 0, 0, 0, ff, ff, kControl}),
    Later(kPersistentReserveIn, 10),
    Later(kPersistentReserveOut, 10),
    Later(kThirdPartyCopyOut, 16),
    Later(kThirdPartyCopyIn, 16),
    Plain(kRead16, 16, Read,
          {0x88, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kCompareAndWriteOpcode, 16, CompareAndWrite,
          {0x89, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, 0, 0, 0, ff, 0, kControl},
          CanCompareAndWrite),
    Plain(kWrite16, 16, Write,
          {0x8a, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kVerify16, 16, Verify,
          {0x8f, 0xf6, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kSynchronizeCache16, 16, SynchronizeCache,
          {0x91, 0x02, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kWriteSame16, 16, WriteSame,
          {0x93, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Action(kServiceActionIn16, kReadCapacity16Action, 16, ReadCapacity16,
           {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kServiceActionIn16, kGetLbaStatusAction, 16, GetLbaStatus,
           {0x9e, 0x12, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Always(kReportLuns, 12, ReportLuns, {0xa0, 0, ff, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Later(kMaintenanceIn, 12, kReportTargetPortGroups),
    Action(kMaintenanceIn, kReportSupportedOpcodesAction, 12, ReportSupportedOpcodes,
           {0xa3, 0x0c, 0x87, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Action(kMaintenanceIn, kReportSupportedFunctionsAction, 12, ReportSupportedFunctions,
           {0xa3, 0x0d, 0x80, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Plain(kRead12, 12, Read, {0xa8, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kWrite12, 12, Write, {0xaa, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kVerify12, 12, Verify, {0xaf, 0xf6, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
};
static_assert(std::is_sorted(std::begin(kCommands), std::end(kCommands),
                             [](const CommandInfo& a, const CommandInfo& b) {
                               return a.opcode < b.opcode;
                             }));

// Where an opcode's entries begin and end.
struct Place {
  uint8_t first = 0, count = 0;
};
constexpr std::array<Place, 256> kPlaces = [] {
  std::array<Place, 256> places{};
  for (size_t i = 0; i < std::size(kCommands); ++i) {
    Place& place = places[kCommands[i].opcode];
    if (place.count++ == 0) place.first = static_cast<uint8_t>(i);
  }
  return places;
}();

}  // namespace

std::span<const CommandInfo> AllCommands() { return kCommands; }

std::span<const CommandInfo> CommandsOf(uint8_t opcode) {
  const Place place = kPlaces[opcode];
  return std::span(kCommands).subspan(place.first, place.count);
}

bool Supports(const CommandInfo& info, const DiskFacts& disk) {
  return info.start != nullptr && (info.supported == nullptr || info.supported(disk));
}

}  // namespace pollux::scsi
