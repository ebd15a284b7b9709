// Identify. Base §5.17; NVM §4.1.5; ZNS §4.1.5.
#include <algorithm>
#include <cstring>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

template <size_t n>
void FillText(char (&field)[n], std::string_view text, char padding) {
  std::fill(std::begin(field), std::end(field), padding);
  std::copy_n(text.begin(), std::min(n, text.size()), field);
}

using Page = std::array<std::byte, 4096>;

template <typename Structure>
Page PageOf(const Structure& structure) {
  static_assert(sizeof structure <= sizeof(Page));
  Page page{};
  std::memcpy(page.data(), &structure, sizeof structure);
  return page;
}

// Namespace identifiers greater than the given one, as many as fit. Base figure 274.
template <typename Range, typename Wanted>
Page ListOf(const Range& namespaces, uint32_t after, Wanted wanted) {
  Page page{};
  size_t at = 0;
  for (const auto& [nsid, ns] : namespaces) {
    if (nsid <= after || !wanted(*ns) || at == sizeof page) continue;
    const Le32 entry = nsid;
    std::memcpy(page.data() + at, &entry, sizeof entry);
    at += sizeof entry;
  }
  return page;
}

}  // namespace

IdentifyController NvmeModel::DescribeController() const {
  IdentifyController identify{};
  identify.vid = kVendorId;
  identify.ssvid = kVendorId;
  FillText(identify.sn, options_.serial_number, ' ');
  FillText(identify.mn, "Pollux NVMe model", ' ');
  FillText(identify.fr, firmware_slots_[firmware_active_ - 1], ' ');
  identify.rab = 6;
  identify.ieee[0] = 0xfe, identify.ieee[1] = 0x0f, identify.ieee[2] = 0x5c;
  identify.mdts = options_.mdts;
  identify.cntlid = kControllerId;
  identify.ver = options_.version;
  identify.rtd3r = 500'000;
  identify.rtd3e = 1'000'000;
  identify.oaes = 1u << 8 | 1u << 9;  // Namespace attribute and firmware activation notices.
  identify.ctratt = 1;                // A 128-bit host identifier.
  identify.cntrltype = 1;
  identify.oacs = options_.oacs;
  identify.acl = 3;
  identify.aerl = static_cast<uint8_t>(options_.async_events_max - 1);
  identify.frmw = 0x17;  // Slot 1 is read only; 3 slots; activation without reset.
  identify.lpa = 0x06;   // Commands supported and effects; extended data.
  identify.elpe = static_cast<uint8_t>(kErrorLogEntries - 1);
  identify.wctemp = 343;
  identify.cctemp = 353;
  identify.hmpre = options_.host_memory_preferred_pages;
  identify.hmmin = options_.host_memory_min_pages;
  identify.fwug = 1;
  identify.kas = static_cast<uint16_t>(options_.keep_alive_ms / 100);
  identify.sanicap = 0x6;  // Block erase and overwrite.
  identify.sqes = 0x66;
  identify.cqes = 0x44;
  identify.nn = options_.namespaces_max;
  identify.oncs = options_.oncs;
  identify.fuses = 1;
  identify.fna = 0;
  identify.vwc = options_.vwc;
  identify.awun = 0xff;
  identify.awupf = 0;
  identify.acwu = 0xff;
  identify.nwpc = 1;
  identify.ocfs = 1;
  identify.sgls = options_.sgls;
  identify.mnan = options_.namespaces_max;
  FillText(identify.subnqn, options_.subnqn, '\0');
  identify.psd[0].mp = 2500;
  return identify;
}

NvmeModel::Outcome NvmeModel::Identify(const SubmissionEntry& sqe) {
  const auto what = static_cast<uint8_t>(sqe.cdw10);
  const auto csi = static_cast<uint8_t>(sqe.cdw11 >> 24);
  const bool command_sets = cc::kCss.Get(cc_) == 6;
  const bool broadcast = sqe.nsid == kAllNamespaces;
  const ModelNamespace* ns = FindNamespace(sqe.nsid);
  const bool active = ns != nullptr && ns->attached();
  // Base §3.2.1.2: valid identifiers are 1 to NN.
  const bool valid = sqe.nsid != 0 && sqe.nsid <= options_.namespaces_max;
  const auto is_active = [command_sets](const ModelNamespace& each) {
    return each.attached() && (command_sets || !each.zoned());
  };
  Page page{};

  switch (what) {
    case cns::kNamespace:
    case cns::kAllocatedNamespace:
      if (broadcast && what == cns::kNamespace) {
        // What is common to all namespaces: their formats.
        IdentifyNamespace common{};
        const std::vector<LbaFormat> formats = ModelNamespace::CommonFormats();
        common.nlbaf = static_cast<uint8_t>(formats.size() - 1);
        std::copy(formats.begin(), formats.end(), common.lbaf);
        page = PageOf(common);
        break;
      }
      if (!valid) return Refuse(status::kInvalidNamespace, "Identify Namespace");
      if (what == cns::kNamespace ? active : ns != nullptr) page = PageOf(ns->Identify());
      break;  // An inactive namespace is all zeroes.
    case cns::kController:
      page = PageOf(DescribeController());
      break;
    case cns::kActiveNamespaces:
    case cns::kAllocatedNamespaces:
      if (sqe.nsid >= 0xfffffffe) return Refuse(status::kInvalidNamespace, "Identify: list");
      page = what == cns::kActiveNamespaces
                 ? ListOf(namespaces_, sqe.nsid, is_active)
                 : ListOf(namespaces_, sqe.nsid, [](const ModelNamespace&) { return true; });
      break;
    case cns::kNamespaceDescriptors:
      if (!valid || broadcast) return Refuse(status::kInvalidNamespace, "Identify: descriptors");
      if (options_.version < 0x010300) return Refuse(status::kInvalidField, "Identify: CNS 03h");
      if (active) page = DescribeIdentifiers(*ns);
      break;
    case cns::kCsNamespace:
      if (!command_sets) return Refuse(status::kInvalidField, "Identify: CNS 05h");
      if (!valid && !broadcast) return Refuse(status::kInvalidNamespace, "Identify: CNS 05h");
      if (csi > kCsiZoned || csi == 1) return Refuse(status::kInvalidField, "Identify: CSI");
      if (csi == kCsiZoned && active) {
        if (!ns->zoned()) return Refuse(status::kInvalidField, "Identify: not a zoned namespace");
        page = PageOf(ns->IdentifyZoned());
      }
      break;  // CSI 00h: no extended protection formats, all zeroes.
    case cns::kCsController: {
      if (!command_sets) return Refuse(status::kInvalidField, "Identify: CNS 06h");
      if (csi > kCsiZoned || csi == 1) return Refuse(status::kInvalidField, "Identify: CSI");
      // CSI 00h: VSL, WZSL, WUSL, DMRL, DMRSL, DMSL (NVM figure 102). CSI 02h: ZASL.
      if (csi == kCsiNvm) page[3] = std::byte{255};
      if (csi == kCsiZoned) page[0] = std::byte{options_.mdts};
      break;
    }
    case cns::kCsActiveNamespaces:
      if (!command_sets) return Refuse(status::kInvalidField, "Identify: CNS 07h");
      if (sqe.nsid >= 0xfffffffe) return Refuse(status::kInvalidNamespace, "Identify: list");
      page = ListOf(namespaces_, sqe.nsid, [csi](const ModelNamespace& each) {
        return each.attached() && csi == (each.zoned() ? kCsiZoned : kCsiNvm);
      });
      break;
    case cns::kIndependentNamespace:
      if (options_.version < 0x020000) return Refuse(status::kInvalidField, "Identify: CNS 08h");
      if (!valid) return Refuse(status::kInvalidNamespace, "Identify: CNS 08h");
      if (active) {
        page[14] = std::byte{1};  // NSTAT: ready. Base figure 280.
        page[2] = std::byte{0xfe};
        page[1] = std::byte{0};
      }
      break;
    case cns::kIoCommandSets:
      // One combination: NVM, and zoned. Base figure 290.
      page[0] = std::byte{options_.io_command_sets ? uint8_t{0x05} : uint8_t{0x01}};
      break;
    default:
      return Refuse(status::kInvalidField, absl::StrFormat("Identify: CNS %02xh", what));
  }
  return Return(sqe, page);
}

// Base figure 278. The NGUID before UUID and CSI; the rest is zero.
std::array<std::byte, 4096> NvmeModel::DescribeIdentifiers(const ModelNamespace& ns) const {
  Page page{};
  size_t at = 0;
  const auto add = [&page, &at](uint8_t type, std::span<const uint8_t> value) {
    const NamespaceDescriptor head{.nidt = type, .nidl = static_cast<uint8_t>(value.size())};
    std::memcpy(page.data() + at, &head, sizeof head);
    std::memcpy(page.data() + at + sizeof head, value.data(), value.size());
    at += sizeof head + value.size();
  };
  std::array<uint8_t, 16> id{};  // What neither fills is zero.
  ns.FillNguid(id);
  add(kNidtNguid, id);
  ns.FillUuid(id);
  add(kNidtUuid, id);
  const uint8_t csi = ns.zoned() ? kCsiZoned : kCsiNvm;
  if (options_.version >= 0x020000) add(kNidtCsi, std::span(&csi, 1));
  return page;
}

}  // namespace pollux::models
