#include <algorithm>

#include "cli/identify/describe.h"
#include "cli/identify/texts.h"

namespace pollux::cli {
namespace {

using nvme::IdentifyNamespace;

constexpr BitRange kNsfeat[] = {
    {0, 0, "Thin provisioning"},
    {1, 1, "NAWUN, NAWUPF and NACWU of the namespace", "not defined|defined"},
    {2, 2, "Deallocated or Unwritten Logical Block error"},
    {3, 3, "NGUID and EUI64", "may be used again|are never used again"},
    {4, 4, "NPWG, NPWA, NPDG, NPDA and NOWS", "not defined|defined"},
};
constexpr BitRange kFlbas[] = {
    {3, 0, "LBA format in use, bits 3:0", nullptr},
    {4, 4, "Metadata", "in a separate buffer|at the end of each block"},
    {6, 5, "LBA format in use, bits 5:4", nullptr},
};
constexpr BitRange kMc[] = {
    {0, 0, "Metadata at the end of each block"},
    {1, 1, "Metadata in a separate buffer"},
};
constexpr BitRange kDpc[] = {
    {0, 0, "Protection Information Type 1"},
    {1, 1, "Protection Information Type 2"},
    {2, 2, "Protection Information Type 3"},
    {3, 3, "Protection information in the first bytes of metadata"},
    {4, 4, "Protection information in the last bytes of metadata"},
};
constexpr BitRange kDps[] = {
    {2, 0, "Protection Information", "disabled|Type 1|Type 2|Type 3"},
    {3, 3, "Protection information lies in", "the last bytes|the first bytes"},
};
constexpr BitRange kNmic[] = {{0, 0, "Attached to several controllers", "no|possible"}};
constexpr BitRange kRescap[] = {
    {0, 0, "Persist Through Power Loss"},
    {1, 1, "Write Exclusive"},
    {2, 2, "Exclusive Access"},
    {3, 3, "Write Exclusive - Registrants Only"},
    {4, 4, "Exclusive Access - Registrants Only"},
    {5, 5, "Write Exclusive - All Registrants"},
    {6, 6, "Exclusive Access - All Registrants"},
    {7, 7, "Ignore Existing Key as of version", "1.2.1 or earlier|1.3 or later"},
};
constexpr BitRange kFpi[] = {
    {6, 0, "Percentage that remains to be formatted", nullptr},
    {7, 7, "Format Progress Indicator"},
};
constexpr BitRange kDlfeat[] = {
    {2, 0, "Reads of deallocated blocks return", "not reported|zeroes|ones"},
    {3, 3, "Deallocate in Write Zeroes"},
    {4, 4, "Guard of deallocated blocks", "FFFFh|the CRC of the data read"},
};
constexpr BitRange kNsattr[] = {{0, 0, "Write protected", "no|yes"}};
constexpr BitRange kZoc[] = {
    {0, 0, "Variable Zone Capacity", "no|yes"},
    {1, 1, "Zone Active Excursions", "no|yes"},
};
constexpr BitRange kOzcs[] = {
    {0, 0, "Reads across zone boundaries"},
    {1, 1, "Zone Random Write Area"},
};

std::string BlocksText(uint64_t blocks, unsigned lbads) {
  if (lbads < 9 || lbads > 32) return absl::StrFormat("%d blocks", blocks);
  if (blocks > UINT64_MAX >> lbads) return absl::StrFormat("%d blocks", blocks);
  return absl::StrFormat("%d (%s)", blocks, BytesText(blocks << lbads));
}

std::string BlockSizeText(unsigned lbads) {
  if (lbads == 0) return "not available";
  return lbads < 64 ? BytesText(uint64_t{1} << lbads) : absl::StrFormat("2^%d bytes", lbads);
}

// 0's based; `none` says what 0 means where it is no number.
std::string OrNone(uint32_t value, uint32_t none_value, const char* none) {
  return value == none_value ? absl::StrFormat("%d (%s)", value, none) : ZeroBased(value);
}

void DescribeFormat(const nvme::LbaFormat& format, size_t index, bool in_use, Section& list) {
  static constexpr const char* kPerformance[] = {"best", "better", "good", "degraded"};
  Section& into = list.AddElement(absl::StrFormat("lbaf %d", index));
  into.Number("ms", format.ms, "Metadata Size");
  into.Number("lbads", format.lbads, "LBA Data Size, log2 of bytes");
  into.Number("rp", format.rp & 3, "Relative Performance");
  into.SetLine(absl::StrFormat("lbads %-2d %-14s ms %-5d rp %d (%s)%s", format.lbads,
                               BlockSizeText(format.lbads), uint16_t{format.ms}, format.rp & 3,
                               kPerformance[format.rp & 3], in_use ? "  in use" : ""));
}

// An identifier as its kind has it, 8-4-4-4-12 for a UUID.
std::string IdentifierText(uint8_t type, std::span<const uint8_t> bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (type == nvme::kNidtUuid && (i == 4 || i == 6 || i == 8 || i == 10)) text += "-";
    text += absl::StrFormat("%02x", bytes[i]);
  }
  return text;
}

}  // namespace

void DescribeNamespace(const IdentifyNamespace& id, Section& into) {
  const size_t formats = std::min<size_t>(id.nlbaf + 1u, std::size(id.lbaf));
  const unsigned used = (id.flbas & 0xfu) | (id.nlbaf >= 16 ? (id.flbas >> 5 & 3u) << 4 : 0);
  const unsigned lbads = used < formats ? id.lbaf[used].lbads : 0;
  into.Number("nsze", id.nsze, "Namespace Size", BlocksText(id.nsze, lbads));
  into.Number("ncap", id.ncap, "Namespace Capacity", BlocksText(id.ncap, lbads));
  into.Number("nuse", id.nuse, "Namespace Utilization", BlocksText(id.nuse, lbads));
  into.Bits("nsfeat", id.nsfeat, 2, "Namespace Features", kNsfeat);
  into.Number("nlbaf", id.nlbaf, "Number of LBA Formats", ZeroBased(id.nlbaf));
  into.Bits("flbas", id.flbas, 2, "Formatted LBA Size", kFlbas);
  into.Bits("mc", id.mc, 2, "Metadata Capabilities", kMc);
  into.Bits("dpc", id.dpc, 2, "End-to-end Data Protection Capabilities", kDpc);
  into.Bits("dps", id.dps, 2, "End-to-end Data Protection Type Settings", kDps);
  into.Bits("nmic", id.nmic, 2, "Namespace Multi-path I/O and Namespace Sharing", kNmic);
  into.Bits("rescap", id.rescap, 2, "Reservation Capabilities", kRescap);
  into.Bits("fpi", id.fpi, 2, "Format Progress Indicator", kFpi);
  into.Bits("dlfeat", id.dlfeat, 2, "Deallocate Logical Block Features", kDlfeat);
  into.Number("nawun", id.nawun, "Namespace Atomic Write Unit Normal, blocks", ZeroBased(id.nawun));
  into.Number("nawupf", id.nawupf, "Namespace Atomic Write Unit Power Fail, blocks",
              ZeroBased(id.nawupf));
  into.Number("nacwu", id.nacwu, "Namespace Atomic Compare & Write Unit, blocks",
              ZeroBased(id.nacwu));
  into.Number("nabsn", id.nabsn, "Namespace Atomic Boundary Size Normal, blocks",
              OrNone(id.nabsn, 0, "no boundary"));
  into.Number("nabo", id.nabo, "Namespace Atomic Boundary Offset, LBA");
  into.Number("nabspf", id.nabspf, "Namespace Atomic Boundary Size Power Fail, blocks",
              OrNone(id.nabspf, 0, "no boundary"));
  into.Number("noiob", id.noiob, "Namespace Optimal I/O Boundary, blocks",
              id.noiob == 0 ? "0 (no boundary)" : "");
  into.Number128("nvmcap", id.nvmcap, "NVM Capacity: " + BytesText128(id.nvmcap));
  into.Number("npwg", id.npwg, "Namespace Preferred Write Granularity, blocks", ZeroBased(id.npwg));
  into.Number("npwa", id.npwa, "Namespace Preferred Write Alignment, blocks", ZeroBased(id.npwa));
  into.Number("npdg", id.npdg, "Namespace Preferred Deallocate Granularity, blocks",
              ZeroBased(id.npdg));
  into.Number("npda", id.npda, "Namespace Preferred Deallocate Alignment, blocks",
              ZeroBased(id.npda));
  into.Number("nows", id.nows, "Namespace Optimal Write Size, blocks", ZeroBased(id.nows));
  into.Number("mssrl", id.mssrl, "Maximum Single Source Range Length, blocks");
  into.Number("mcl", id.mcl, "Maximum Copy Length, blocks");
  into.Number("msrc", id.msrc, "Maximum Source Range Count", ZeroBased(id.msrc));
  into.Number("anagrpid", id.anagrpid, "ANA Group Identifier");
  into.Bits("nsattr", id.nsattr, 2, "Namespace Attributes", kNsattr);
  into.Number("nvmsetid", id.nvmsetid, "NVM Set Identifier");
  into.Number("endgid", id.endgid, "Endurance Group Identifier");
  into.Bytes("nguid", id.nguid, sizeof(id.nguid), "Namespace Globally Unique Identifier");
  into.Bytes("eui64", id.eui64, sizeof(id.eui64), "IEEE Extended Unique Identifier");
  Section& list = into.AddList("lbaf", "LBA Formats");
  for (size_t i = 0; i < formats; ++i) DescribeFormat(id.lbaf[i], i, i == used, list);
}

void DescribeZoned(const nvme::IdentifyZonedNamespace& id, unsigned formats, Section& into) {
  into.Bits("zoc", id.zoc, 4, "Zone Operation Characteristics", kZoc);
  into.Bits("ozcs", id.ozcs, 4, "Optional Zoned Command Support", kOzcs);
  into.Number("mar", id.mar, "Maximum Active Resources", OrNone(id.mar, UINT32_MAX, "no limit"));
  into.Number("mor", id.mor, "Maximum Open Resources", OrNone(id.mor, UINT32_MAX, "no limit"));
  into.Number("rrl", id.rrl, "Reset Recommended Limit, s");
  into.Number("frl", id.frl, "Finish Recommended Limit, s");
  into.Number("rrl1", id.rrl1, "Reset Recommended Limit 1, s");
  into.Number("rrl2", id.rrl2, "Reset Recommended Limit 2, s");
  into.Number("rrl3", id.rrl3, "Reset Recommended Limit 3, s");
  into.Number("frl1", id.frl1, "Finish Recommended Limit 1, s");
  into.Number("frl2", id.frl2, "Finish Recommended Limit 2, s");
  into.Number("frl3", id.frl3, "Finish Recommended Limit 3, s");
  into.Number("numzrwa", id.numzrwa, "Number of ZRWA Resources", ZeroBased(id.numzrwa));
  into.Number("zrwafg", id.zrwafg, "ZRWA Flush Granularity, blocks");
  into.Number("zrwasz", id.zrwas, "ZRWA Size, blocks");
  into.Hex("zrwacap", id.zrwacap, 2, "ZRWA Capability");
  Section& list = into.AddList("lbafe", "LBA Format Extensions");
  for (size_t i = 0; i < std::min<size_t>(formats, std::size(id.lbafe)); ++i) {
    Section& format = list.AddElement(absl::StrFormat("lbafe %d", i));
    format.Number("zsze", id.lbafe[i].zsze, "Zone Size, blocks");
    format.Number("zdes", id.lbafe[i].zdes, "Zone Descriptor Extension Size, in 64 bytes");
    format.SetLine(absl::StrFormat("zsze %d blocks  zdes %s", uint64_t{id.lbafe[i].zsze},
                                   UnitsOf(id.lbafe[i].zdes, 64)));
  }
}

void DescribeIdentifiers(std::span<const uint8_t> list, Section& into) {
  static constexpr const char* kNames[] = {"", "eui64", "nguid", "uuid", "csi"};
  while (list.size() > sizeof(nvme::NamespaceDescriptor)) {
    const uint8_t type = list[0];
    const size_t bytes = list[1];
    list = list.subspan(sizeof(nvme::NamespaceDescriptor));
    if (bytes == 0 || bytes > list.size()) return;  // The end, or a list that does not end.
    const std::string text = IdentifierText(type, list.first(bytes));
    Section& descriptor = into.AddElement(absl::StrFormat("nidt %d", type));
    descriptor.Number("nidt", type, "Namespace Identifier Type");
    descriptor.Text("nid", text, "Namespace Identifier");
    const bool known = type > 0 && type < std::size(kNames);
    descriptor.SetLine(absl::StrFormat("%-6s %s", known ? kNames[type] : "?", text));
    list = list.subspan(bytes);
  }
}

}  // namespace pollux::cli
