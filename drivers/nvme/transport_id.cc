#include <sys/stat.h>

#include <cstring>
#include <string>
#include <string_view>

#include "drivers/nvme/error_text.h"
#include "drivers/nvme/nvme.h"
#include "drivers/pci/pci_address.h"

namespace pollux::nvme {
namespace {

constexpr std::string_view kBlanks = " \t\n";

bool SameWord(std::string_view a, const char* b) {
  return a.size() == strlen(b) && strncasecmp(a.data(), b, a.size()) == 0;
}

Result<pollux_nvme_transport> ParseType(std::string_view text) {
  if (SameWord(text, "PCIe") || SameWord(text, "PCI")) return POLLUX_NVME_TRANSPORT_PCIE;
  if (SameWord(text, "VFIOUSER") || SameWord(text, "vfio-user")) {
    return POLLUX_NVME_TRANSPORT_VFIOUSER;
  }
  if (SameWord(text, "TCP")) return POLLUX_NVME_TRANSPORT_TCP;
  return InvalidField("trtype", text, "one of PCIe, VFIOUSER, TCP is meant");
}

Result<pollux_nvme_address_family> ParseFamily(std::string_view text) {
  if (SameWord(text, "IPv4")) return POLLUX_NVME_ADRFAM_IPV4;
  if (SameWord(text, "IPv6")) return POLLUX_NVME_ADRFAM_IPV6;
  return InvalidField("adrfam", text, "one of IPv4, IPv6 is meant");
}

template <size_t N>
Status SetText(const char* field, std::string_view text, char (&into)[N]) {
  if (text.size() >= N) return InvalidField(field, text, "is too long");
  memcpy(into, text.data(), text.size());
  into[text.size()] = 0;
  return OkStatus();
}

Status SetAddress(std::string_view text, pollux_nvme_transport_id& id) {
  if (text.empty()) return InvalidArgument("a transport address is missing");
  return SetText("traddr", text, id.traddr);
}

// A PCI address in the form that everybody writes.
Status Normalize(pollux_nvme_transport_id& id) {
  if (id.trtype != POLLUX_NVME_TRANSPORT_PCIE) return OkStatus();
  ASSIGN_OR_RETURN(const pci::PciAddress address, pci::ParsePciAddress(id.traddr));
  return SetAddress(pci::ToString(address), id);
}

Status ParseFields(std::string_view text, pollux_nvme_transport_id& id) {
  std::string_view address;
  while (true) {
    const size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    text.remove_prefix(word.size());
    const size_t colon = word.find(':');
    const std::string_view key = word.substr(0, colon);
    if (colon == std::string_view::npos) return InvalidField("transport id", word, "has no value");
    const std::string_view value = word.substr(colon + 1);
    if (SameWord(key, "trtype")) {
      ASSIGN_OR_RETURN(id.trtype, ParseType(value));
    } else if (SameWord(key, "traddr")) {
      address = value;
    } else if (SameWord(key, "adrfam")) {
      ASSIGN_OR_RETURN(id.adrfam, ParseFamily(value));
    } else if (SameWord(key, "trsvcid")) {
      RETURN_IF_ERROR(SetText("trsvcid", value, id.trsvcid));
    } else if (SameWord(key, "subnqn")) {
      RETURN_IF_ERROR(SetText("subnqn", value, id.subnqn));
    } else {
      return InvalidField("transport id", key, "is not known");
    }
  }
  if (id.trtype == 0) return InvalidArgument("trtype is missing");
  return SetAddress(address, id);
}

Status Parse(std::string_view text, pollux_nvme_transport_id& id) {
  id = pollux_nvme_transport_id{};
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return InvalidArgument("a transport id is empty");
  text = text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
  if (text.find("trtype") != std::string_view::npos) {
    RETURN_IF_ERROR(ParseFields(text, id));
    return Normalize(id);
  }
  RETURN_IF_ERROR(SetAddress(text, id));
  if (pci::ParsePciAddress(text).ok()) {
    id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
    return Normalize(id);
  }
  if (text.find('/') == std::string_view::npos) {
    return InvalidField("transport id", text, "is neither a PCI address nor a path");
  }
  id.trtype = POLLUX_NVME_TRANSPORT_VFIOUSER;
  return OkStatus();
}

}  // namespace
}  // namespace pollux::nvme

int pollux_nvme_transport_id_parse(const char* text, pollux_nvme_transport_id* id) {
  return pollux::nvme::Fail(pollux::nvme::Parse(text, *id));
}
