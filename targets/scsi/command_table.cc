#include "targets/scsi/command_table.h"

#include <algorithm>

#include "targets/scsi/commands.h"

namespace pollux::scsi {
namespace {

namespace ra = reservation_access;

constexpr int kNone = CommandInfo::kNoServiceAction;

bool CanUnmap(const DiskFacts& disk) { return disk.unmap; }
bool CanCompareAndWrite(const DiskFacts& disk) { return disk.compare_and_write; }

using Usage = std::array<uint8_t, 16>;
using Supported = bool (*)(const DiskFacts&);

constexpr CommandInfo Plain(uint8_t opcode, uint8_t cdb_bytes, uint8_t access,
                            Execution::Step start, Usage usage, Supported supported = nullptr) {
  return {opcode, kNone, cdb_bytes, Admission::kNormal, access, start, supported, usage};
}
constexpr CommandInfo Always(uint8_t opcode, uint8_t cdb_bytes, uint8_t access,
                             Execution::Step start, Usage usage) {
  return {opcode, kNone, cdb_bytes, Admission::kAlways, access, start, nullptr, usage};
}
constexpr CommandInfo Action(uint8_t opcode, int service_action, uint8_t cdb_bytes, uint8_t access,
                             Execution::Step start, Usage usage) {
  return {opcode, service_action, cdb_bytes, Admission::kNormal, access, start, nullptr, usage};
}

constexpr uint8_t ff = 0xff;
constexpr uint8_t kControl = kNaca;

// In the order of opcodes. The bytes are CDB USAGE DATA: what is looked at.
constexpr CommandInfo kCommands[] = {
    Plain(kTestUnitReady, 6, ra::kHarmless, TestUnitReady, {0x00, 0, 0, 0, 0, kControl}),
    Always(kRequestSense, 6, ra::kAlways, RequestSense, {0x03, 0x01, 0, 0, ff, kControl}),
    Plain(kRead6, 6, ra::kReads, Read, {0x08, 0x1f, ff, ff, ff, kControl}),
    Plain(kWrite6, 6, ra::kWrites, Write, {0x0a, 0x1f, ff, ff, ff, kControl}),
    Always(kInquiry, 6, ra::kAlways, Inquiry, {0x12, 0x03, ff, ff, ff, kControl}),
    Plain(kModeSelect6, 6, ra::kWrites, ModeSelect6, {0x15, 0x11, 0, 0, ff, kControl}),
    Plain(kReserve6, 6, ra::kHarmless, Reserve, {0x16, 0x10, 0, 0, 0, kControl}),
    Plain(kRelease6, 6, ra::kAlways, Release, {0x17, 0x10, 0, 0, 0, kControl}),
    Plain(kModeSense6, 6, ra::kReads, ModeSense6, {0x1a, 0x08, ff, ff, ff, kControl}),
    Plain(kStartStopUnit, 6, ra::kWhenStarting, StartStopUnit, {0x1b, 0, 0, 0, 0xf7, kControl}),
    Plain(kSendDiagnostic, 6, ra::kWrites, SendDiagnostic, {0x1d, 0xe0, 0, ff, ff, kControl}),
    Plain(kPreventAllowMediumRemoval, 6, ra::kWhenAllowing, PreventAllowMediumRemoval,
          {0x1e, 0, 0, 0, 3, kControl}),
    Plain(kReadCapacity10, 10, ra::kAlways, ReadCapacity10,
          {0x25, 0, ff, ff, ff, ff, 0, 0, 0x01, kControl}),
    Plain(kRead10, 10, ra::kReads, Read, {0x28, 0xf8, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kWrite10, 10, ra::kWrites, Write, {0x2a, 0xf8, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kWriteAndVerify10, 10, ra::kWrites, WriteAndVerify,
          {0x2e, 0xf6, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kVerify10, 10, ra::kReads, Verify, {0x2f, 0xf6, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kPreFetch10, 10, ra::kReads, PreFetch, {0x34, 0x02, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kSynchronizeCache10, 10, ra::kWrites, SynchronizeCache,
          {0x35, 0x02, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kReadDefectData10, 10, ra::kReads, ReadDefectData,
          {0x37, 0, 0x1f, 0, 0, 0, 0, ff, ff, kControl}),
    Plain(kWriteSame10, 10, ra::kWrites, WriteSame,
          {0x41, 0xfe, ff, ff, ff, ff, 0, ff, ff, kControl}),
    Plain(kUnmap, 10, ra::kWrites, Unmap, {0x42, 0x01, 0, 0, 0, 0, 0, ff, ff, kControl}, CanUnmap),
    Action(kSanitize, 0x01, 10, ra::kWrites, SanitizeOverwrite,
           {0x48, 0xa1, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Action(kSanitize, 0x1f, 10, ra::kWrites, SanitizeExitFailureMode,
           {0x48, 0x1f, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Plain(kModeSelect10, 10, ra::kWrites, ModeSelect10,
          {0x55, 0x11, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Plain(kReserve10, 10, ra::kHarmless, Reserve, {0x56, 0x12, 0, 0, 0, 0, 0, 0, 0, kControl}),
    Plain(kRelease10, 10, ra::kAlways, Release, {0x57, 0x12, 0, 0, 0, 0, 0, 0, 0, kControl}),
    Plain(kModeSense10, 10, ra::kReads, ModeSense10,
          {0x5a, 0x18, ff, ff, 0, 0, 0, ff, ff, kControl}),
    // Whether a reservation is in the way is decided by PERSISTENT RESERVE OUT itself (§5.12.1,
    // table 67).
    Action(kPersistentReserveIn, 0, 10, ra::kHarmless, ReadKeys,
           {0x5e, 0, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Action(kPersistentReserveIn, 1, 10, ra::kHarmless, ReadReservation,
           {0x5e, 1, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Action(kPersistentReserveIn, 2, 10, ra::kHarmless, ReportCapabilities,
           {0x5e, 2, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Action(kPersistentReserveIn, 3, 10, ra::kHarmless, ReadFullStatus,
           {0x5e, 3, 0, 0, 0, 0, 0, ff, ff, kControl}),
    Action(kPersistentReserveOut, 0, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 0, 0, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 1, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 1, ff, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 2, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 2, ff, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 3, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 3, 0, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 4, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 4, ff, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 5, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 5, ff, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 6, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 6, 0, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kPersistentReserveOut, 7, 10, ra::kHarmless, PersistentReserveOut,
           {0x5f, 7, 0, 0, 0, ff, ff, ff, ff, kControl}),
    Action(kThirdPartyCopyOut, 0x00, 16, ra::kWrites, ExtendedCopy,
           {0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kThirdPartyCopyIn, 0x00, 16, ra::kWrites, ReceiveCopyStatus,
           {0x84, 0x00, ff, 0, 0, 0, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kThirdPartyCopyIn, 0x03, 16, ra::kWrites, ReceiveCopyParameters,
           {0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kThirdPartyCopyIn, 0x04, 16, ra::kWrites, ReceiveCopyFailure,
           {0x84, 0x04, ff, 0, 0, 0, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Plain(kRead16, 16, ra::kReads, Read,
          {0x88, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kCompareAndWriteOpcode, 16, ra::kWrites, CompareAndWrite,
          {0x89, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, 0, 0, 0, ff, 0, kControl},
          CanCompareAndWrite),
    Plain(kWrite16, 16, ra::kWrites, Write,
          {0x8a, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kOrWrite16, 16, ra::kWrites, OrWrite,
          {0x8b, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl},
          CanCompareAndWrite),
    Plain(kWriteAndVerify16, 16, ra::kWrites, WriteAndVerify,
          {0x8e, 0xf6, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kVerify16, 16, ra::kReads, Verify,
          {0x8f, 0xf6, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kPreFetch16, 16, ra::kReads, PreFetch,
          {0x90, 0x02, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kSynchronizeCache16, 16, ra::kWrites, SynchronizeCache,
          {0x91, 0x02, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kWriteSame16, 16, ra::kWrites, WriteSame,
          {0x93, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Action(kServiceActionIn16, kReadCapacity16Action, 16, ra::kAlways, ReadCapacity16,
           {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kServiceActionIn16, kGetLbaStatusAction, 16, ra::kReads, GetLbaStatus,
           {0x9e, 0x12, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Always(kReportLuns, 12, ra::kAlways, ReportLuns,
           {0xa0, 0, ff, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kMaintenanceIn, kReportTargetPortGroups, 12, ra::kAlways, ReportTargetPortGroups,
           {0xa3, 0xea, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Action(kMaintenanceIn, kReportSupportedOpcodesAction, 12, ra::kReads, ReportSupportedOpcodes,
           {0xa3, 0x0c, 0x87, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Action(kMaintenanceIn, kReportSupportedFunctionsAction, 12, ra::kReads,
           ReportSupportedFunctions, {0xa3, 0x0d, 0x80, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
    Plain(kRead12, 12, ra::kReads, Read, {0xa8, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kWrite12, 12, ra::kWrites, Write,
          {0xaa, 0xf8, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kWriteAndVerify12, 12, ra::kWrites, WriteAndVerify,
          {0xae, 0xf6, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kVerify12, 12, ra::kReads, Verify,
          {0xaf, 0xf6, ff, ff, ff, ff, ff, ff, ff, ff, 0, kControl}),
    Plain(kReadDefectData12, 12, ra::kReads, ReadDefectData,
          {0xb7, 0x1f, 0, 0, 0, 0, ff, ff, ff, ff, 0, kControl}),
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
  return info.supported == nullptr || info.supported(disk);
}

}  // namespace pollux::scsi
