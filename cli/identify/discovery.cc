#include <string>

#include "cli/identify/describe.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

// Numbers that are not here have no name in the specification. Base figure 265.
constexpr BitRange kTrtype[] = {{7, 0, "Transport Type", "reserved|RDMA|Fibre Channel|TCP"}};
constexpr BitRange kAdrfam[] = {
    {7, 0, "Address Family", "reserved|IPv4|IPv6|InfiniBand|Fibre Channel"}};
constexpr BitRange kSubtype[] = {
    {7, 0, "Subsystem Type", "reserved|referral|NVM subsystem|the discovery subsystem itself"}};
constexpr BitRange kTreq[] = {
    {1, 0, "Secure Channel", "not specified|required|not required"},
    {2, 2, "SQ flow control", "not disabled|may be disabled"},
};
constexpr BitRange kEflags[] = {
    {0, 0, "Same information as another entry", "no|yes"},
    {1, 1, "Persistent connections"},
};
constexpr BitRange kTsas[] = {{7, 0, "Security of TCP", "none|TLS 1.2 or 1.3|TLS 1.3"}};

std::string WordOf(const BitRange& range, uint8_t value) {
  std::string words = range.words;
  for (; value > 0 && !words.empty(); --value) {
    const size_t bar = words.find('|');
    words = bar == std::string::npos ? "" : words.substr(bar + 1);
  }
  return words.empty() ? "reserved" : words.substr(0, words.find('|'));
}

std::string LineOf(const pollux_nvme_discovery_entry& entry) {
  std::string line =
      absl::StrFormat("%-14s %s %s port %s  portid %d", WordOf(kSubtype[0], entry.subtype),
                      WordOf(kTrtype[0], entry.trtype), Printable(entry.traddr),
                      Printable(entry.trsvcid), entry.portid);
  if (entry.unusable != nullptr) line += absl::StrFormat("  (not usable: %s)", entry.unusable);
  return line;
}

}  // namespace

void DescribeDiscovery(const pollux_nvme_discovery_log& log, Section& into) {
  into.Number("genctr", log.generation, "Generation Counter");
  into.Number("numrec", log.count, "Number of Records");
  Section& list = into.AddList("entries", "Discovery Log Entries (Base figure 265)");
  for (uint32_t i = 0; i < log.count; ++i) {
    const pollux_nvme_discovery_entry& entry = log.entries[i];
    Section& one = list.AddElement(Printable(entry.subnqn));
    one.Bits("trtype", entry.trtype, 2, "Transport Type", kTrtype);
    one.Bits("adrfam", entry.adrfam, 2, "Address Family", kAdrfam);
    one.Bits("subtype", entry.subtype, 2, "Subsystem Type", kSubtype);
    one.Bits("treq", entry.treq, 2, "Transport Requirements", kTreq);
    one.Number("portid", entry.portid, "Port ID");
    one.Hex("cntlid", entry.cntlid, 4, "Controller ID");
    one.Number("asqsz", entry.asqsz, "Admin Max SQ Size");
    one.Bits("eflags", entry.eflags, 4, "Entry Flags", kEflags);
    one.Text("trsvcid", entry.trsvcid, "Transport Service Identifier");
    one.Text("subnqn", entry.subnqn, "NVM Subsystem Qualified Name");
    one.Text("traddr", entry.traddr, "Transport Address");
    one.Bits("tsas", entry.tsas, 2, "Transport Specific Address Subtype, first byte", kTsas);
    if (entry.unusable != nullptr) one.Text("unusable", entry.unusable, "Not usable here");
    one.SetLine(LineOf(entry));
  }
}

}  // namespace pollux::cli
