#include <algorithm>

#include "cli/identify/describe.h"
#include "cli/identify/texts.h"

namespace pollux::cli {
namespace {

using nvme::IdentifyController;
using nvme::PowerState;

constexpr BitRange kCmic[] = {
    {0, 0, "Ports of the NVM subsystem", "one|two or more"},
    {1, 1, "Controllers of the NVM subsystem", "one|two or more"},
    {2, 2, "Associated with", "a PCI Function|an SR-IOV Virtual Function"},
    {3, 3, "Asymmetric Namespace Access Reporting"},
};
constexpr BitRange kOaes[] = {
    {8, 8, "Namespace Attribute Notices"},
    {9, 9, "Firmware Activation Notices"},
    {11, 11, "Asymmetric Namespace Access Change Notices"},
    {12, 12, "Predictable Latency Event Aggregate Log Change Notices"},
    {13, 13, "LBA Status Information Notices"},
    {14, 14, "Endurance Group Event Aggregate Log Page Change Notices"},
    {15, 15, "Normal NVM Subsystem Shutdown event"},
    {27, 27, "Zone Descriptor Changed Notices"},
    {31, 31, "Discovery Log Page Change Notices"},
};
constexpr BitRange kCtratt[] = {
    {0, 0, "Host Identifier of 128 bits"},
    {1, 1, "Non-Operational Power State Permissive Mode"},
    {2, 2, "NVM Sets"},
    {3, 3, "Read Recovery Levels"},
    {4, 4, "Endurance Groups"},
    {5, 5, "Predictable Latency Mode"},
    {6, 6, "Traffic Based Keep Alive"},
    {7, 7, "Namespace Granularity"},
    {8, 8, "SQ Associations"},
    {9, 9, "UUID List"},
    {10, 10, "Multi-Domain Subsystem"},
    {11, 11, "Fixed Capacity Management"},
    {12, 12, "Variable Capacity Management"},
    {13, 13, "Delete Endurance Group"},
    {14, 14, "Delete NVM Set"},
    {15, 15, "Extended LBA Formats"},
};
constexpr const char* kControllerTypes =
    "not reported|I/O controller|Discovery controller|"
    "Administrative controller";
constexpr BitRange kCntrltype[] = {{7, 0, "Controller Type", kControllerTypes}};
constexpr BitRange kNvmsr[] = {
    {0, 0, "NVMe Storage Device", "no|yes"},
    {1, 1, "NVMe Enclosure", "no|yes"},
};
constexpr BitRange kVwci[] = {
    {6, 0, "VPD Write Cycles Remaining", nullptr},
    {7, 7, "VPD Write Cycles Remaining are", "not valid|valid"},
};
constexpr BitRange kMec[] = {
    {0, 0, "Management Endpoint on an SMBus/I2C port", "no|yes"},
    {1, 1, "Management Endpoint on a PCIe port", "no|yes"},
};
constexpr BitRange kOacs[] = {
    {0, 0, "Security Send and Security Receive"},
    {1, 1, "Format NVM"},
    {2, 2, "Firmware Commit and Firmware Image Download"},
    {3, 3, "Namespace Management and Namespace Attachment"},
    {4, 4, "Device Self-test"},
    {5, 5, "Directive Send and Directive Receive"},
    {6, 6, "NVMe-MI Send and NVMe-MI Receive"},
    {7, 7, "Virtualization Management"},
    {8, 8, "Doorbell Buffer Config"},
    {9, 9, "Get LBA Status"},
    {10, 10, "Command and Feature Lockdown"},
};
constexpr BitRange kFrmw[] = {
    {0, 0, "First firmware slot", "may be written|read only"},
    {3, 1, "Firmware slots", nullptr},
    {4, 4, "Activation without a reset"},
    {5, 5, "Detection of overlapping updates"},
};
constexpr BitRange kLpa[] = {
    {0, 0, "SMART / Health Information per namespace"},
    {1, 1, "Commands Supported and Effects"},
    {2, 2, "Get Log Page with extended data (offset, 32-bit length)"},
    {3, 3, "Telemetry Host-Initiated and Controller-Initiated"},
    {4, 4, "Persistent Event"},
    {5, 5, "Supported Log Pages, Feature Identifiers and NVMe-MI Commands Effects"},
    {6, 6, "Telemetry Data Area 4"},
};
constexpr BitRange kAvscc[] = {
    {0, 0, "Vendor specific admin commands", "in any format|in the common format"}};
constexpr BitRange kApsta[] = {{0, 0, "Autonomous Power State Transitions"}};
constexpr BitRange kRpmbs[] = {
    {2, 0, "RPMB units", nullptr},
    {5, 3, "Authentication Method", "HMAC SHA-256"},
    {23, 16, "Total Size of each, in units of 128 KiB, 0's based", nullptr},
    {31, 24, "Access Size, in units of 512 bytes, 0's based", nullptr},
};
constexpr BitRange kDsto[] = {
    {0, 0, "Self-tests at a time", "one per controller|one in the NVM subsystem"}};
constexpr BitRange kHctma[] = {{0, 0, "Host Controlled Thermal Management"}};
constexpr BitRange kSanicap[] = {
    {0, 0, "Crypto Erase"},
    {1, 1, "Block Erase"},
    {2, 2, "Overwrite"},
    {29, 29, "No-Deallocate", "possible|inhibited"},
    {31, 30, "Media after a sanitize with No-Deallocate",
     "not defined|not modified any more|modified once more"},
};
constexpr BitRange kAnacap[] = {
    {0, 0, "ANA Optimized state", "not reported|reported"},
    {1, 1, "ANA Non-Optimized state", "not reported|reported"},
    {2, 2, "ANA Inaccessible state", "not reported|reported"},
    {3, 3, "ANA Persistent Loss state", "not reported|reported"},
    {4, 4, "ANA Change state", "not reported|reported"},
    {6, 6, "ANAGRPID of an attached namespace", "may change|does not change"},
    {7, 7, "ANAGRPID of Namespace Management", "zero only|any"},
};
constexpr BitRange kEntrySize[] = {
    {3, 0, "Required, log2 of bytes", nullptr},
    {7, 4, "Maximum, log2 of bytes", nullptr},
};
constexpr BitRange kOncs[] = {
    {0, 0, "Compare"},
    {1, 1, "Write Uncorrectable"},
    {2, 2, "Dataset Management"},
    {3, 3, "Write Zeroes"},
    {4, 4, "Save in Set Features, Select in Get Features"},
    {5, 5, "Reservations"},
    {6, 6, "Timestamp"},
    {7, 7, "Verify"},
    {8, 8, "Copy"},
};
constexpr BitRange kFuses[] = {{0, 0, "Compare and Write"}};
constexpr BitRange kFna[] = {
    {0, 0, "Format applies to", "one namespace|all namespaces"},
    {1, 1, "Secure erase applies to", "one namespace|all namespaces"},
    {2, 2, "Cryptographic erase"},
    {3, 3, "Format with NSID FFFFFFFFh", "supported|not supported"},
};
constexpr BitRange kVwc[] = {
    {0, 0, "Volatile Write Cache", "not present|present"},
    {2, 1, "Flush with NSID FFFFFFFFh", "not reported|reserved|not supported|supported"},
};
constexpr BitRange kIcsvscc[] = {
    {0, 0, "Vendor specific I/O commands", "in any format|in the common format"}};
constexpr BitRange kNwpc[] = {
    {0, 0, "No Write Protect and Write Protect"},
    {1, 1, "Write Protect Until Power Cycle"},
    {2, 2, "Permanent Write Protect"},
};
constexpr BitRange kOcfs[] = {
    {0, 0, "Copy descriptor format 0h"},
    {1, 1, "Copy descriptor format 1h"},
};
constexpr BitRange kSgls[] = {
    {1, 0, "SGLs for I/O commands",
     "not supported|supported, any alignment|supported, dword aligned"},
    {2, 2, "Keyed SGL Data Block"},
    {15, 8, "SGL Descriptor Threshold", nullptr},
    {16, 16, "SGL Bit Bucket"},
    {17, 17, "Metadata at any byte by MPTR"},
    {18, 18, "SGLs longer than the data"},
    {19, 19, "MPTR with the address of an SGL segment"},
    {20, 20, "Addresses that are offsets"},
    {21, 21, "Transport SGL Data Block"},
};
constexpr BitRange kFcatt[] = {{0, 0, "Controller model", "dynamic|static"}};
constexpr BitRange kOfcs[] = {{0, 0, "Disconnect"}};

std::string VersionText(uint32_t ver) {
  return absl::StrFormat("%d.%d.%d", nvme::vs::kMajor.Get(ver), nvme::vs::kMinor.Get(ver),
                         nvme::vs::kTertiary.Get(ver));
}

std::string MdtsText(uint8_t mdts) {
  if (mdts == 0) return "0 (no limit)";
  if (mdts >= 48) return absl::StrFormat("%d (2^%d pages)", mdts, mdts);
  return absl::StrFormat("%d (%s)", mdts, BytesText(uint64_t{4096} << mdts));
}

std::string MicrosecondsText(uint32_t us) {
  return us == 0 ? "0 (not reported)" : absl::StrFormat("%d us", us);
}

std::string FwugText(uint8_t fwug) {
  if (fwug == 0) return "0 (not reported)";
  if (fwug == 0xff) return "255 (no restriction)";
  return UnitsOf(fwug, 4096);
}

std::string RrlsText(uint16_t rrls) {
  std::string levels;
  for (unsigned level = 0; level < 16; ++level) {
    if (rrls >> level & 1) levels += (levels.empty() ? "" : " ") + std::to_string(level);
  }
  return levels.empty() ? "Read Recovery Levels Supported"
                        : "Read Recovery Levels Supported: " + levels;
}

// Watts. `scale`: 1 units of 0.0001 W, 2 of 0.01 W.
std::string PowerText(uint16_t value, unsigned scale) {
  if (value == 0 || scale == 0 || scale > 2) return "-";
  return scale == 1 ? absl::StrFormat("%.4f W", value * 0.0001)
                    : absl::StrFormat("%.2f W", value * 0.01);
}

void DescribePowerState(const PowerState& state, size_t index, Section& list) {
  Section& into = list.AddElement(absl::StrFormat("ps %d", index));
  const bool finer = (state.flags3 & 1) != 0;
  const bool non_operational = (state.flags3 & 2) != 0;
  into.Number("mp", state.mp, "Maximum Power");
  into.Number("mxps", finer, "Max Power Scale: 0 units of 0.01 W, 1 of 0.0001 W");
  into.Number("nops", non_operational, "Non-Operational State");
  into.Number("enlat", state.enlat, "Entry Latency, us");
  into.Number("exlat", state.exlat, "Exit Latency, us");
  into.Number("rrt", state.rrt & 0x1f, "Relative Read Throughput");
  into.Number("rrl", state.rrl & 0x1f, "Relative Read Latency");
  into.Number("rwt", state.rwt & 0x1f, "Relative Write Throughput");
  into.Number("rwl", state.rwl & 0x1f, "Relative Write Latency");
  into.Number("idlp", state.idlp, "Idle Power");
  into.Number("ips", state.ips >> 6, "Idle Power Scale");
  into.Number("actp", state.actp, "Active Power");
  into.Number("apw", state.apw & 7, "Active Power Workload");
  into.Number("aps", state.apw >> 6, "Active Power Scale");
  into.SetLine(absl::StrFormat(
      "mp %s  %s  enlat %d us  exlat %d us  rrt %d rrl %d rwt %d rwl %d  idle %s  active %s (%d)",
      PowerText(state.mp, finer ? 1 : 2), non_operational ? "non-operational" : "operational",
      uint32_t{state.enlat}, uint32_t{state.exlat}, state.rrt & 0x1f, state.rrl & 0x1f,
      state.rwt & 0x1f, state.rwl & 0x1f, PowerText(state.idlp, state.ips >> 6),
      PowerText(state.actp, state.apw >> 6), state.apw & 7));
}

// Bytes 0 to 255: Controller Capabilities and Features.
void DescribeCapabilities(const IdentifyController& id, Section& into) {
  into.Hex("vid", id.vid, 4, "PCI Vendor ID");
  into.Hex("ssvid", id.ssvid, 4, "PCI Subsystem Vendor ID");
  into.Ascii("sn", id.sn, sizeof(id.sn), "Serial Number");
  into.Ascii("mn", id.mn, sizeof(id.mn), "Model Number");
  into.Ascii("fr", id.fr, sizeof(id.fr), "Firmware Revision");
  into.Number("rab", id.rab, "Recommended Arbitration Burst, log2 of commands");
  const uint8_t ieee[] = {id.ieee[2], id.ieee[1], id.ieee[0]};
  into.Bytes("ieee", ieee, sizeof(ieee), "IEEE OUI Identifier");
  into.Bits("cmic", id.cmic, 2, "Controller Multi-Path I/O and Namespace Sharing", kCmic);
  into.Number("mdts", id.mdts, "Maximum Data Transfer Size, where pages are 4 KiB at least",
              MdtsText(id.mdts));
  into.Hex("cntlid", id.cntlid, 4, "Controller ID");
  into.Hex("ver", id.ver, 8, "Version: " + VersionText(id.ver));
  into.Number("rtd3r", id.rtd3r, "RTD3 Resume Latency", MicrosecondsText(id.rtd3r));
  into.Number("rtd3e", id.rtd3e, "RTD3 Entry Latency", MicrosecondsText(id.rtd3e));
  into.Bits("oaes", id.oaes, 8, "Optional Asynchronous Events Supported", kOaes);
  into.Bits("ctratt", id.ctratt, 8, "Controller Attributes", kCtratt);
  into.Hex("rrls", id.rrls, 4, RrlsText(id.rrls));
  into.Bits("cntrltype", id.cntrltype, 2, "Controller Type", kCntrltype);
  into.Bytes("fguid", id.fguid, sizeof(id.fguid), "FRU Globally Unique Identifier");
  into.Number("crdt1", id.crdt1, "Command Retry Delay Time 1", Tenths(id.crdt1));
  into.Number("crdt2", id.crdt2, "Command Retry Delay Time 2", Tenths(id.crdt2));
  into.Number("crdt3", id.crdt3, "Command Retry Delay Time 3", Tenths(id.crdt3));
  into.Bits("nvmsr", id.nvmsr, 2, "NVM Subsystem Report", kNvmsr);
  into.Bits("vwci", id.vwci, 2, "VPD Write Cycle Information", kVwci);
  into.Bits("mec", id.mec, 2, "Management Endpoint Capabilities", kMec);
}

// Bytes 256 to 511: Admin Command Set Attributes and Optional Controller Capabilities.
void DescribeAdminAttributes(const IdentifyController& id, Section& into) {
  into.Bits("oacs", id.oacs, 4, "Optional Admin Command Support", kOacs);
  into.Number("acl", id.acl, "Abort Command Limit", ZeroBased(id.acl));
  into.Number("aerl", id.aerl, "Asynchronous Event Request Limit", ZeroBased(id.aerl));
  into.Bits("frmw", id.frmw, 2, "Firmware Updates", kFrmw);
  into.Bits("lpa", id.lpa, 2, "Log Page Attributes", kLpa);
  into.Number("elpe", id.elpe, "Error Log Page Entries", ZeroBased(id.elpe));
  into.Number("npss", id.npss, "Number of Power States Support", ZeroBased(id.npss));
  into.Bits("avscc", id.avscc, 2, "Admin Vendor Specific Command Configuration", kAvscc);
  into.Bits("apsta", id.apsta, 2, "Autonomous Power State Transition Attributes", kApsta);
  into.Number("wctemp", id.wctemp, "Warning Composite Temperature Threshold", Kelvin(id.wctemp));
  into.Number("cctemp", id.cctemp, "Critical Composite Temperature Threshold", Kelvin(id.cctemp));
  into.Number("mtfa", id.mtfa, "Maximum Time for Firmware Activation", Tenths(id.mtfa));
  into.Number("hmpre", id.hmpre, "Host Memory Buffer Preferred Size", UnitsOf(id.hmpre, 4096));
  into.Number("hmmin", id.hmmin, "Host Memory Buffer Minimum Size", UnitsOf(id.hmmin, 4096));
  into.Number128("tnvmcap", id.tnvmcap, "Total NVM Capacity: " + BytesText128(id.tnvmcap));
  into.Number128("unvmcap", id.unvmcap, "Unallocated NVM Capacity: " + BytesText128(id.unvmcap));
  into.Bits("rpmbs", id.rpmbs, 8, "Replay Protected Memory Block Support", kRpmbs);
  into.Number("edstt", id.edstt, "Extended Device Self-test Time",
              absl::StrFormat("%d min", uint16_t{id.edstt}));
  into.Bits("dsto", id.dsto, 2, "Device Self-test Options", kDsto);
  into.Number("fwug", id.fwug, "Firmware Update Granularity", FwugText(id.fwug));
  into.Number("kas", id.kas, "Keep Alive Support, granularity", Tenths(id.kas));
  into.Bits("hctma", id.hctma, 4, "Host Controlled Thermal Management Attributes", kHctma);
  into.Number("mntmt", id.mntmt, "Minimum Thermal Management Temperature", Kelvin(id.mntmt));
  into.Number("mxtmt", id.mxtmt, "Maximum Thermal Management Temperature", Kelvin(id.mxtmt));
  into.Bits("sanicap", id.sanicap, 8, "Sanitize Capabilities", kSanicap);
  into.Number("hmminds", id.hmminds, "Host Memory Buffer Minimum Descriptor Entry Size",
              UnitsOf(id.hmminds, 4096));
  into.Number("hmmaxd", id.hmmaxd, "Host Memory Maximum Descriptors Entries");
  into.Number("nsetidmax", id.nsetidmax, "NVM Set Identifier Maximum");
  into.Number("endgidmax", id.endgidmax, "Endurance Group Identifier Maximum");
  into.Number("anatt", id.anatt, "ANA Transition Time", absl::StrFormat("%d s", id.anatt));
  into.Bits("anacap", id.anacap, 2, "Asymmetric Namespace Access Capabilities", kAnacap);
  into.Number("anagrpmax", id.anagrpmax, "ANA Group Identifier Maximum");
  into.Number("nanagrpid", id.nanagrpid, "Number of ANA Group Identifiers");
  into.Number("pels", id.pels, "Persistent Event Log Size", UnitsOf(id.pels, 65536));
  into.Hex("domainid", id.domain_identifier, 4, "Domain Identifier");
  into.Number128("megcap", id.megcap, "Max Endurance Group Capacity: " + BytesText128(id.megcap));
}

// Bytes 512 to 703: NVM Command Set Attributes.
void DescribeCommandSetAttributes(const IdentifyController& id, Section& into) {
  into.Bits("sqes", id.sqes, 2, "Submission Queue Entry Size", kEntrySize);
  into.Bits("cqes", id.cqes, 2, "Completion Queue Entry Size", kEntrySize);
  into.Number("maxcmd", id.maxcmd, "Maximum Outstanding Commands");
  into.Number("nn", id.nn, "Number of Namespaces");
  into.Bits("oncs", id.oncs, 4, "Optional NVM Command Support", kOncs);
  into.Bits("fuses", id.fuses, 4, "Fused Operation Support", kFuses);
  into.Bits("fna", id.fna, 2, "Format NVM Attributes", kFna);
  into.Bits("vwc", id.vwc, 2, "Volatile Write Cache", kVwc);
  into.Number("awun", id.awun, "Atomic Write Unit Normal, blocks", ZeroBased(id.awun));
  into.Number("awupf", id.awupf, "Atomic Write Unit Power Fail, blocks", ZeroBased(id.awupf));
  into.Bits("icsvscc", id.icsvscc, 2, "I/O Command Set Vendor Specific Command Configuration",
            kIcsvscc);
  into.Bits("nwpc", id.nwpc, 2, "Namespace Write Protection Capabilities", kNwpc);
  into.Number("acwu", id.acwu, "Atomic Compare & Write Unit, blocks", ZeroBased(id.acwu));
  into.Bits("ocfs", id.ocfs, 4, "Optional Copy Formats Supported", kOcfs);
  into.Bits("sgls", id.sgls, 8, "SGL Support", kSgls);
  into.Number("mnan", id.mnan, "Maximum Number of Allowed Namespaces");
  into.Number128("maxdna", id.maxdna, "Maximum Domain Namespace Attachments");
  into.Number("maxcna", id.maxcna, "Maximum I/O Controller Namespace Attachments");
  into.Ascii("subnqn", id.subnqn, sizeof(id.subnqn), "NVM Subsystem NVMe Qualified Name");
}

void DescribeFabrics(const IdentifyController& id, Section& into) {
  into.Number("ioccsz", id.ioccsz, "I/O Queue Command Capsule Supported Size",
              UnitsOf(id.ioccsz, 16));
  into.Number("iorcsz", id.iorcsz, "I/O Queue Response Capsule Supported Size",
              UnitsOf(id.iorcsz, 16));
  into.Number("icdoff", id.icdoff, "In Capsule Data Offset", UnitsOf(id.icdoff, 16));
  into.Bits("fcatt", id.fcatt, 2, "Fabrics Controller Attributes", kFcatt);
  into.Number("msdbd", id.msdbd, "Maximum SGL Data Block Descriptors");
  into.Bits("ofcs", id.ofcs, 4, "Optional Fabrics Commands Support", kOfcs);
}

}  // namespace

void DescribeController(const IdentifyController& id, Section& into) {
  DescribeCapabilities(id, into);
  DescribeAdminAttributes(id, into);
  DescribeCommandSetAttributes(id, into);
  DescribeFabrics(id, into);
  Section& states = into.AddList("psd", "Power State Descriptors");
  const size_t count = std::min<size_t>(id.npss + 1u, std::size(id.psd));
  for (size_t i = 0; i < count; ++i) DescribePowerState(id.psd[i], i, states);
}

}  // namespace pollux::cli
