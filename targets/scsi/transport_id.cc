#include "targets/scsi/transport_id.h"

#include <algorithm>

namespace pollux::scsi {
namespace {

constexpr uint8_t kFormatWithIsid = 0x40, kProtocolIscsi = 0x05;
constexpr size_t kHeaderBytes = 4;
constexpr size_t kNameBytesMin = 20;   // ADDITIONAL LENGTH, with padding.
constexpr size_t kNameBytesMax = 244;  // 223 of the name, ",i,0x", 12 digits, a zero, padding.
constexpr std::string_view kSeparator = ",i,0x";
constexpr size_t kIsidDigits = 12;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool IsPort(std::string_view name) {
  if (name.size() <= kSeparator.size() + kIsidDigits) return false;
  const size_t at = name.size() - kSeparator.size() - kIsidDigits;
  if (name.substr(at, kSeparator.size()) != kSeparator) return false;
  const std::string_view isid = name.substr(at + kSeparator.size());
  if (isid.find_first_not_of("0123456789abcdef") != std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c != 0x7f; });
}

}  // namespace

std::string CanonicalPort(std::string_view initiator_port) {
  std::string name(initiator_port);
  std::transform(name.begin(), name.end(), name.begin(), Lower);
  return name;
}

std::vector<uint8_t> EncodeTransportId(std::string_view initiator_port) {
  const std::string_view name = initiator_port.substr(0, kNameBytesMax - 1);
  const size_t padded = std::max(kNameBytesMin, (name.size() + 4) / 4 * 4);
  std::vector<uint8_t> bytes(kHeaderBytes + padded);
  bytes[0] = kFormatWithIsid | kProtocolIscsi;
  bytes[3] = static_cast<uint8_t>(padded);
  std::copy(name.begin(), name.end(), bytes.begin() + kHeaderBytes);
  return bytes;
}

std::optional<ParsedTransportId> ParseTransportId(std::span<const uint8_t> bytes) {
  if (bytes.size() < kHeaderBytes || bytes[0] != (kFormatWithIsid | kProtocolIscsi)) {
    return std::nullopt;
  }
  const size_t length = static_cast<size_t>(bytes[2]) << 8 | bytes[3];
  if (length % 4 != 0 || length < kNameBytesMin || length > kNameBytesMax) return std::nullopt;
  if (length > bytes.size() - kHeaderBytes) return std::nullopt;
  const auto field = bytes.subspan(kHeaderBytes, length);
  const auto end = std::find(field.begin(), field.end(), 0);
  if (end == field.end()) return std::nullopt;
  std::string name = CanonicalPort(std::string(field.begin(), end));
  if (!IsPort(name)) return std::nullopt;
  return ParsedTransportId{std::move(name), kHeaderBytes + length};
}

}  // namespace pollux::scsi
