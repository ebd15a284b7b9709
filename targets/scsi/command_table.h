#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "targets/scsi/execution.h"
#include "targets/scsi/reservation_access.h"

namespace pollux::scsi {

// When a command may be sent. The rest needs a LUN that is there.
enum class Admission : uint8_t {
  kNormal,
  // To any LUN, and with unit attentions pending, which it does not report: INQUIRY, REPORT LUNS,
  // REQUEST SENSE. SAM-5 §5.11, §5.14.
  kAlways,
};

// One command that a logical unit executes. REPORT SUPPORTED OPERATION CODES shows what is here.
struct CommandInfo {
  static constexpr int kNoServiceAction = -1;

  uint8_t opcode;
  int service_action;
  uint8_t cdb_bytes;
  Admission admission;
  // What it may do to a unit that another nexus has reserved: flags of reservation_access.
  uint8_t access;
  Execution::Step start;
  // Some disks do it and some do not. Null: all do.
  bool (*supported)(const DiskFacts&);
  // CDB USAGE DATA: the bits that are looked at. SPC-4 §6.36.3.
  std::array<uint8_t, 16> usage;
};

// By opcode, then service action.
std::span<const CommandInfo> AllCommands();

// What the table has for an opcode: nothing, one entry, or one per service action.
std::span<const CommandInfo> CommandsOf(uint8_t opcode);

bool Supports(const CommandInfo& info, const DiskFacts& disk);

}  // namespace pollux::scsi
