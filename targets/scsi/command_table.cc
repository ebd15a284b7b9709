#include "targets/scsi/command_table.h"

#include <algorithm>

#include "targets/scsi/commands.h"

namespace pollux::scsi {
namespace {

constexpr int kNone = CommandInfo::kNoServiceAction;
constexpr auto kNormal = Admission::kNormal;
constexpr auto kAlways = Admission::kAlways;

bool CanUnmap(const DiskFacts& disk) { return disk.unmap; }
bool CanCompareAndWrite(const DiskFacts& disk) { return disk.compare_and_write; }

// Commands that are known and come later (reservations, extended copy, ALUA).
constexpr CommandInfo Later(uint8_t opcode, int service_action, uint8_t cdb_bytes) {
  return {opcode, service_action, cdb_bytes, kNormal, nullptr, nullptr, {}};
}

// In the order of opcodes. The last column is CDB USAGE DATA: what is looked at.
constexpr CommandInfo kCommands[] = {
    {kTestUnitReady, kNone, 6, kNormal, TestUnitReady, nullptr, {0x00, 0, 0, 0, 0, kNaca}},
    {kRequestSense, kNone, 6, kAlways, RequestSense, nullptr, {0x03, 0x01, 0, 0, 0xff, kNaca}},
    {kRead6, kNone, 6, kNormal, Read, nullptr, {0x08, 0x1f, 0xff, 0xff, 0xff, kNaca}},
    {kWrite6, kNone, 6, kNormal, Write, nullptr, {0x0a, 0x1f, 0xff, 0xff, 0xff, kNaca}},
    {kInquiry, kNone, 6, kAlways, Inquiry, nullptr, {0x12, 0x03, 0xff, 0xff, 0xff, kNaca}},
    {kModeSelect6, kNone, 6, kNormal, ModeSelect6, nullptr, {0x15, 0x11, 0, 0, 0xff, kNaca}},
    Later(kReserve6, kNone, 6),
    Later(kRelease6, kNone, 6),
    {kModeSense6, kNone, 6, kNormal, ModeSense6, nullptr, {0x1a, 0x08, 0xff, 0xff, 0xff, kNaca}},
    {kStartStopUnit, kNone, 6, kNormal, StartStopUnit, nullptr, {0x1b, 0, 0, 0, 0xf7, kNaca}},
    {kSendDiagnostic,
     kNone,
     6,
     kNormal,
     SendDiagnostic,
     nullptr,
     {0x1d, 0xe0, 0, 0xff, 0xff, kNaca}},
    {kPreventAllowMediumRemoval,
     kNone,
     6,
     kNormal,
     PreventAllowMediumRemoval,
     nullptr,
     {0x1e, 0, 0, 0, 0x03, kNaca}},
    {kReadCapacity10,
     kNone,
     10,
     kNormal,
     ReadCapacity10,
     nullptr,
     {0x25, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, kNaca}},
    {kRead10,
     kNone,
     10,
     kNormal,
     Read,
     nullptr,
     {0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}},
    {kWrite10,
     kNone,
     10,
     kNormal,
     Write,
     nullptr,
     {0x2a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}},
    {kVerify10,
     kNone,
     10,
     kNormal,
     Verify,
     nullptr,
     {0x2f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}},
    {kSynchronizeCache10,
     kNone,
     10,
     kNormal,
     SynchronizeCache,
     nullptr,
     {0x35, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}},
    {kWriteSame10,
     kNone,
     10,
     kNormal,
     WriteSame,
     nullptr,
     {0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}},
    {kUnmap, kNone, 10, kNormal, Unmap, CanUnmap, {0x42, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}},
    {kModeSelect10,
     kNone,
     10,
     kNormal,
     ModeSelect10,
     nullptr,
     {0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}},
    Later(kReserve10, kNone, 10),
    Later(kRelease10, kNone, 10),
    {kModeSense10,
     kNone,
     10,
     kNormal,
     ModeSense10,
     nullptr,
     {0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, kNaca}},
    Later(kPersistentReserveIn, kNone, 10),
    Later(kPersistentReserveOut, kNone, 10),
    Later(kThirdPartyCopyOut, kNone, 16),
    Later(kThirdPartyCopyIn, kNone, 16),
    {kRead16,
     kNone,
     16,
     kNormal,
     Read,
     nullptr,
     {0x88, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
      kNaca}},
    {kCompareAndWriteOpcode,
     kNone,
     16,
     kNormal,
     CompareAndWrite,
     CanCompareAndWrite,
     {0x89, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0, kNaca}},
    {kWrite16,
     kNone,
     16,
     kNormal,
     Write,
     nullptr,
     {0x8a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
      kNaca}},
    {kVerify16,
     kNone,
     16,
     kNormal,
     Verify,
     nullptr,
     {0x8f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
      kNaca}},
    {kSynchronizeCache16,
     kNone,
     16,
     kNormal,
     SynchronizeCache,
     nullptr,
     {0x91, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
      kNaca}},
    {kWriteSame16,
     kNone,
     16,
     kNormal,
     WriteSame,
     nullptr,
     {0x93, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
      kNaca}},
    {kServiceActionIn16,
     kReadCapacity16Action,
     16,
     kNormal,
     ReadCapacity16,
     nullptr,
     {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
    {kReportLuns,
     kNone,
     12,
     kAlways,
     ReportLuns,
     nullptr,
     {0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
    Later(kMaintenanceIn, kReportTargetPortGroups, 12),
    {kMaintenanceIn,
     kReportSupportedOpcodesAction,
     12,
     kNormal,
     ReportSupportedOpcodes,
     nullptr,
     {0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
    {kMaintenanceIn,
     kReportSupportedFunctionsAction,
     12,
     kNormal,
     ReportSupportedFunctions,
     nullptr,
     {0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
    {kRead12,
     kNone,
     12,
     kNormal,
     Read,
     nullptr,
     {0xa8, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
    {kWrite12,
     kNone,
     12,
     kNormal,
     Write,
     nullptr,
     {0xaa, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
    {kVerify12,
     kNone,
     12,
     kNormal,
     Verify,
     nullptr,
     {0xaf, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}},
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
