#include "drivers/pci/pci_address.h"

#include <algorithm>
#include <charconv>

namespace pollux::pci {
namespace {

constexpr uint32_t kDeviceMax = 31;
constexpr uint32_t kFunctionMax = 7;

// Takes a number of `digits_min` to `digits_max` hexadecimal digits from the front.
bool Take(std::string_view& text, size_t digits_min, size_t digits_max, uint32_t& number) {
  const char* const end = text.data() + std::min(text.size(), digits_max);
  const auto [stop, error] = std::from_chars(text.data(), end, number, 16);
  const auto digits = static_cast<size_t>(stop - text.data());
  if (error != std::errc() || digits < digits_min) return false;
  text.remove_prefix(digits);
  return true;
}

bool TakeSeparator(std::string_view& text, char separator) {
  if (text.empty() || text.front() != separator) return false;
  text.remove_prefix(1);
  return true;
}

// `separator` stands before the device; a point stands before the function.
bool TakeBusDeviceFunction(std::string_view text, char separator, uint32_t domain,
                           PciAddress& address) {
  uint32_t bus = 0;
  uint32_t device = 0;
  uint32_t function = 0;
  const bool read = Take(text, 2, 2, bus) && TakeSeparator(text, separator) &&
                    Take(text, 2, 2, device) && TakeSeparator(text, '.') &&
                    Take(text, 1, 1, function) && text.empty();
  if (!read || device > kDeviceMax || function > kFunctionMax) return false;
  address = {.domain = domain,
             .bus = static_cast<uint8_t>(bus),
             .device = static_cast<uint8_t>(device),
             .function = static_cast<uint8_t>(function)};
  return true;
}

}  // namespace

Result<PciAddress> ParsePciAddress(std::string_view text) {
  PciAddress address;
  if (TakeBusDeviceFunction(text, ':', 0, address)) return address;
  std::string_view rest = text;
  uint32_t domain = 0;
  if (Take(rest, 4, 8, domain)) {
    for (const char separator : {':', '.'}) {
      std::string_view behind = rest;
      if (TakeSeparator(behind, separator) &&
          TakeBusDeviceFunction(behind, separator, domain, address)) {
        return address;
      }
    }
  }
  return InvalidField("address", text, "must be a PCI address such as 0000:01:00.0");
}

std::string ToString(const PciAddress& address) {
  return absl::StrFormat("%04x:%02x:%02x.%x", address.domain, address.bus, address.device,
                         address.function);
}

}  // namespace pollux::pci
