#include <algorithm>
#include <cstring>

#include "cli/identify/describe.h"
#include "cli/identify/texts.h"
#include "core/log.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {
namespace {

constexpr BitRange kCriticalWarning[] = {
    {0, 0, "Available spare", "above its threshold|below its threshold"},
    {1, 1, "Temperature", "within its thresholds|beyond a threshold"},
    {2, 2, "NVM subsystem reliability", "good|degraded"},
    {3, 3, "Media", "may be written|read only"},
    {4, 4, "Volatile memory backup", "good|failed"},
    {5, 5, "Persistent Memory Region", "reliable|unreliable or read only"},
};
constexpr BitRange kEnduranceGroups[] = {
    {0, 0, "Available spare of an Endurance Group", "above its threshold|below its threshold"},
    {2, 2, "Reliability of an Endurance Group", "good|degraded"},
    {3, 3, "Namespaces of an Endurance Group", "may be written|read only"},
};
constexpr BitRange kAfi[] = {
    {2, 0, "Slot of the firmware that runs", nullptr},
    {6, 4, "Slot that the next reset activates", nullptr},
};
constexpr BitRange kEffects[] = {
    {0, 0, "Command", "not supported|supported"},
    {1, 1, "Changes logical block contents", "no|yes"},
    {2, 2, "Changes namespace capability", "no|yes"},
    {3, 3, "Changes namespace inventory", "no|yes"},
    {4, 4, "Changes controller capability", "no|yes"},
    {18, 16, "Execution", "unrestricted|alone in its namespace|alone in the controller"},
    {19, 19, "UUID Selection"},
};

// --- Names of commands, for the effects.

struct CommandName {
  uint8_t opcode;
  const char* name;
};
constexpr CommandName kAdminCommands[] = {
    {0x00, "Delete I/O Submission Queue"},
    {0x01, "Create I/O Submission Queue"},
    {0x02, "Get Log Page"},
    {0x04, "Delete I/O Completion Queue"},
    {0x05, "Create I/O Completion Queue"},
    {0x06, "Identify"},
    {0x08, "Abort"},
    {0x09, "Set Features"},
    {0x0a, "Get Features"},
    {0x0c, "Asynchronous Event Request"},
    {0x0d, "Namespace Management"},
    {0x10, "Firmware Commit"},
    {0x11, "Firmware Image Download"},
    {0x14, "Device Self-test"},
    {0x15, "Namespace Attachment"},
    {0x18, "Keep Alive"},
    {0x19, "Directive Send"},
    {0x1a, "Directive Receive"},
    {0x1c, "Virtualization Management"},
    {0x1d, "NVMe-MI Send"},
    {0x1e, "NVMe-MI Receive"},
    {0x20, "Capacity Management"},
    {0x24, "Lockdown"},
    {0x7c, "Doorbell Buffer Config"},
    {0x7f, "Fabrics Commands"},
    {0x80, "Format NVM"},
    {0x81, "Security Send"},
    {0x82, "Security Receive"},
    {0x84, "Sanitize"},
    {0x86, "Get LBA Status"},
};
constexpr CommandName kIoCommands[] = {
    {0x00, "Flush"},
    {0x01, "Write"},
    {0x02, "Read"},
    {0x04, "Write Uncorrectable"},
    {0x05, "Compare"},
    {0x08, "Write Zeroes"},
    {0x09, "Dataset Management"},
    {0x0c, "Verify"},
    {0x0d, "Reservation Register"},
    {0x0e, "Reservation Report"},
    {0x11, "Reservation Acquire"},
    {0x15, "Reservation Release"},
    {0x19, "Copy"},
    {0x79, "Zone Management Send"},
    {0x7a, "Zone Management Receive"},
    {0x7d, "Zone Append"},
};

const char* NameOf(std::span<const CommandName> names, uint8_t opcode) {
  for (const CommandName& command : names) {
    if (command.opcode == opcode) return command.name;
  }
  return "Vendor specific or unknown command";
}

// What a set of effects says, in a line.
std::string EffectsText(uint32_t effects) {
  std::string out;
  for (const BitRange& range : kEffects) {
    const uint32_t mask = ((2u << (range.high - range.low)) - 1) << range.low;
    const uint32_t value = (effects & mask) >> range.low;
    if (range.low == 0 || value == 0) continue;
    out += out.empty() ? "" : "; ";
    if (range.low == 16) {
      out += value == 1 ? "alone in its namespace" : value == 2 ? "alone in the controller" : "?";
    } else {
      out += range.name;
    }
  }
  return out.empty() ? "no effects" : out;
}

void DescribeCommands(const Le32 (&effects)[256], std::span<const CommandName> names,
                      Section& list) {
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    const uint32_t value = effects[opcode];
    if ((value & 1) == 0) continue;
    const char* name = NameOf(names, static_cast<uint8_t>(opcode));
    Section& command = list.AddElement(absl::StrFormat("%02xh", opcode));
    command.Number("opcode", opcode, "Opcode");
    command.Text("name", name, "Command");
    command.Hex("effects", value, 8, "Effects");
    command.SetLine(absl::StrFormat("%08x  %-36s %s", value, name, EffectsText(value)));
  }
}

std::string StatusText(uint16_t status) {
  char text[128];
  return Printable(pollux_nvme_status_text(status, text, sizeof(text)));
}

std::string DataUnits(const uint8_t (&units)[16]) {
  const double bytes = ToDouble128(units) * 512'000;
  if (bytes < 1.8e19) return BytesText(static_cast<uint64_t>(bytes));
  return absl::StrFormat("%.3g bytes", bytes);
}

}  // namespace

void DescribeHealth(const nvme::HealthLog& log, Section& into) {
  into.Bits("critical_warning", log.critical_warning, 2, "Critical Warning", kCriticalWarning);
  into.Number("temperature", log.temperature, "Composite Temperature", Kelvin(log.temperature));
  into.Number("avail_spare", log.avail_spare, "Available Spare",
              absl::StrFormat("%d %%", log.avail_spare));
  into.Number("spare_thresh", log.spare_thresh, "Available Spare Threshold",
              absl::StrFormat("%d %%", log.spare_thresh));
  into.Number("percent_used", log.percent_used, "Percentage Used",
              absl::StrFormat("%d %%", log.percent_used));
  into.Bits("endu_grp_crit_warn_sumry", log.endu_grp_crit_warn, 2,
            "Endurance Group Critical Warning Summary", kEnduranceGroups);
  into.Number128("data_units_read", log.data_units_read,
                 "Data Units Read, in 512,000 bytes: " + DataUnits(log.data_units_read));
  into.Number128("data_units_written", log.data_units_written,
                 "Data Units Written, in 512,000 bytes: " + DataUnits(log.data_units_written));
  into.Number128("host_read_commands", log.host_reads, "Host Read Commands");
  into.Number128("host_write_commands", log.host_writes, "Host Write Commands");
  into.Number128("controller_busy_time", log.ctrl_busy_time, "Controller Busy Time, minutes");
  into.Number128("power_cycles", log.power_cycles, "Power Cycles");
  into.Number128("power_on_hours", log.power_on_hours, "Power On Hours");
  into.Number128("unsafe_shutdowns", log.unsafe_shutdowns, "Unsafe Shutdowns");
  into.Number128("media_errors", log.media_errors, "Media and Data Integrity Errors");
  into.Number128("num_err_log_entries", log.num_err_log_entries,
                 "Number of Error Information Log Entries");
  into.Number("warning_temp_time", log.warning_temp_time,
              "Warning Composite Temperature Time, minutes");
  into.Number("critical_comp_time", log.critical_temp_time,
              "Critical Composite Temperature Time, minutes");
  for (unsigned i = 0; i < std::size(log.temp_sensor); ++i) {
    into.Number(absl::StrFormat("temp_sensor_%d", i + 1).c_str(), log.temp_sensor[i],
                "Temperature Sensor", Kelvin(log.temp_sensor[i]));
  }
  into.Number("thm_temp1_trans_count", log.thm_temp1_trans_count,
              "Thermal Management Temperature 1 Transition Count");
  into.Number("thm_temp2_trans_count", log.thm_temp2_trans_count,
              "Thermal Management Temperature 2 Transition Count");
  into.Number("thm_temp1_total_time", log.thm_temp1_total_time,
              "Total Time For Thermal Management Temperature 1, s");
  into.Number("thm_temp2_total_time", log.thm_temp2_total_time,
              "Total Time For Thermal Management Temperature 2, s");
}

void DescribeErrors(std::span<const nvme::ErrorLogEntry> log, Section& into) {
  for (const nvme::ErrorLogEntry& entry : log) {
    if (entry.error_count == 0) continue;
    // The phase tag is bit 0 there.
    const auto status = static_cast<uint16_t>(entry.status >> 1);
    Section& error = into.AddElement("Error");
    error.Number("error_count", entry.error_count, "Error Count");
    error.Hex("sqid", entry.sqid, 4, "Submission Queue ID");
    error.Hex("cmdid", entry.cmdid, 4, "Command ID");
    error.Hex("status_field", status, 4, "Status Field: " + StatusText(status));
    error.Hex("parm_error_location", entry.parameter_error_location, 4,
              entry.parameter_error_location == 0xffff
                  ? "Parameter Error Location: not specific to a parameter"
                  : absl::StrFormat("Parameter Error Location: byte %d, bit %d",
                                    entry.parameter_error_location & 0xff,
                                    entry.parameter_error_location >> 8 & 7));
    error.Number("lba", entry.lba, "LBA of the first block with the error");
    error.Hex("nsid", entry.nsid, 8, "Namespace");
    error.Hex("vs", entry.vendor_log, 2, "Vendor Specific Information Available, log page");
    error.Number("trtype", entry.trtype, "Transport Type");
    error.Hex("cs", entry.command_specific, 16, "Command Specific Information");
    error.Hex("trtype_spec_info", entry.trtype_specific, 4, "Transport Type Specific Information");
  }
}

void DescribeFirmware(const nvme::FirmwareSlotLog& log, Section& into) {
  into.Bits("afi", log.afi, 2, "Active Firmware Info", kAfi);
  for (unsigned i = 0; i < std::size(log.frs); ++i) {
    if (std::all_of(std::begin(log.frs[i]), std::end(log.frs[i]), [](char c) { return c == 0; })) {
      continue;
    }
    into.Ascii(absl::StrFormat("frs%d", i + 1).c_str(), log.frs[i], sizeof(log.frs[i]),
               absl::StrFormat("Firmware Revision for Slot %d", i + 1));
  }
}

void DescribeEffects(const EffectsLog& log, Section& into) {
  DescribeCommands(log.acs, kAdminCommands, into.AddList("acs", "Admin Commands"));
  DescribeCommands(log.iocs, kIoCommands, into.AddList("iocs", "I/O Commands"));
}

void DescribeSelfTest(const SelfTestLog& log, Section& into) {
  static constexpr BitRange kOperation[] = {
      {3, 0, "Operation", "none|short self-test|extended self-test||||||||||||vendor specific"}};
  static constexpr BitRange kStatus[] = {
      {3, 0, "Result",
       "without error|aborted by Device Self-test|aborted by a Controller Level Reset|"
       "aborted by removal of a namespace|aborted by Format NVM|fatal or unknown error|"
       "failed, segment not known|failed, see the segment number|aborted, reason not known|"
       "aborted by sanitize||||||entry not used"},
      {7, 4, "Code", "|short self-test|extended self-test||||||||||||vendor specific"}};
  constexpr uint8_t kNotUsed = 0xf;
  into.Bits("current_operation", log.current_operation, 2, "Current Device Self-Test Operation",
            kOperation);
  into.Number("completion", log.current_completion & 0x7f, "Current Device Self-Test Completion",
              absl::StrFormat("%d %%", log.current_completion & 0x7f));
  Section& list = into.AddList("results", "Self-test Results, the newest first");
  for (const SelfTestResult& result : log.results) {
    if ((result.status & 0xf) == kNotUsed) continue;
    Section& one = list.AddElement("Result");
    one.Bits("status", result.status, 2, "Device Self-test Status", kStatus);
    one.Number("segment", result.segment, "Segment Number");
    one.Hex("valid", result.valid, 2, "Valid Diagnostic Information");
    one.Number("poh", result.poh, "Power On Hours");
    if (result.valid & 1) one.Hex("nsid", result.nsid, 8, "Namespace Identifier");
    if (result.valid & 2) one.Number("flba", result.failing_lba, "Failing LBA");
    if (result.valid & 4) one.Hex("sct", result.sct & 7, 2, "Status Code Type");
    if (result.valid & 8) one.Hex("sc", result.sc, 2, "Status Code");
  }
}

void DescribeSanitize(const SanitizeLog& log, Section& into) {
  static constexpr BitRange kStatus[] = {
      {2, 0, "Most recent sanitize",
       "never made|completed|in progress|failed|completed without deallocation"},
      {7, 3, "Overwrite passes completed", nullptr},
      {8, 8, "Written since", "yes or unknown|no: Global Data Erased"}};
  const auto time = [&](const char* name, uint32_t seconds, const char* meaning) {
    into.Number(name, seconds, meaning,
                seconds == UINT32_MAX ? "not reported" : absl::StrFormat("%d s", seconds));
  };
  into.Number("sprog", log.sprog, "Sanitize Progress, of 65536",
              absl::StrFormat("%d (%.1f %%)", uint16_t{log.sprog}, log.sprog * 100.0 / 65536));
  into.Bits("sstat", log.sstat, 4, "Sanitize Status", kStatus);
  into.Hex("scdw10", log.scdw10, 8, "Sanitize Command Dword 10 Information");
  time("eto", log.eto, "Estimated Time For Overwrite");
  time("etbe", log.etbe, "Estimated Time For Block Erase");
  time("etce", log.etce, "Estimated Time For Crypto Erase");
  time("etond", log.etond, "Estimated Time For Overwrite With No-Deallocate Media Modification");
  time("etbend", log.etbend,
       "Estimated Time For Block Erase With No-Deallocate Media Modification");
  time("etcend", log.etcend,
       "Estimated Time For Crypto Erase With No-Deallocate Media Modification");
}

void DescribeAna(std::span<const uint8_t> log, Section& into) {
  struct Header {
    Le64 change_count;
    Le16 groups;
    uint8_t reserved[6];
  };
  struct Group {
    Le32 anagrpid, count;
    Le64 change_count;
    uint8_t state, reserved[15];
  };
  static_assert(sizeof(Header) == 16 && sizeof(Group) == 32);
  static constexpr BitRange kState[] = {
      {3, 0, "ANA State",
       "|optimized|non-optimized|inaccessible|persistent loss|||||||||||change"}};
  Header header;
  if (log.size() < sizeof(header)) return;
  std::memcpy(&header, log.data(), sizeof(header));
  log = log.subspan(sizeof(header));
  into.Number("chgcnt", header.change_count, "Change Count");
  into.Number("ngrps", header.groups, "Number of ANA Group Descriptors");
  Section& list = into.AddList("groups", "ANA Group Descriptors");
  for (unsigned i = 0; i < header.groups && log.size() >= sizeof(Group); ++i) {
    Group group;
    std::memcpy(&group, log.data(), sizeof(group));
    log = log.subspan(sizeof(group));
    Section& one = list.AddElement(absl::StrFormat("Group %d", uint32_t{group.anagrpid}));
    one.Number("grpid", group.anagrpid, "ANA Group ID");
    one.Number("nnsids", group.count, "Number of NSID Values");
    one.Number("chgcnt", group.change_count, "Change Count");
    one.Bits("state", group.state, 2, "Asymmetric Namespace Access State", kState);
    const size_t bytes = size_t{group.count} * sizeof(Le32);
    if (bytes > log.size()) return;  // Cut: what follows would be read from the wrong place.
    std::string nsids;
    for (size_t at = 0; at < bytes; at += sizeof(Le32)) {
      Le32 nsid;
      std::memcpy(&nsid, log.data() + at, sizeof(nsid));
      nsids += (nsids.empty() ? "" : " ") + std::to_string(nsid);
    }
    one.Text("nsids", nsids, "Namespaces");
    log = log.subspan(bytes);
  }
}

}  // namespace pollux::cli
