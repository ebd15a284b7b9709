#include <charconv>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "targets/scsi/persistent_reservations.h"

// Persistent reservations as text:
//
//   TYPE HOLDER-PORT HOLDER             (0 0 - without a holder)
//   KEY ALL-PORTS TARGET-PORT INITIATOR-PORT
//   ...
//
// An initiator port comes last in its line, and a name has no line break.

namespace pollux::scsi {
namespace {

std::optional<uint64_t> Number(absl::string_view text, int base, uint64_t max) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || stopped != end || value > max) return std::nullopt;
  return value;
}

}  // namespace

std::string PersistentReservations::Save() const {
  if (!aptpl_ || registrations_.empty()) return "";
  const NexusName holder = holder_.value_or(NexusName{"-", 0});
  std::string text = absl::StrFormat("%d %d %s\n", static_cast<int>(type_), holder.target_port,
                                     holder.initiator_port);
  for (const Registration& r : registrations_) {
    text += absl::StrFormat("%016x %d %d %s\n", r.key, r.all_ports ? 1 : 0, r.nexus.target_port,
                            r.nexus.initiator_port);
  }
  return text;
}

std::optional<PersistentReservations> PersistentReservations::Load(std::string_view text) {
  std::vector<std::string> lines =
      absl::StrSplit(absl::string_view(text.data(), text.size()), '\n');
  // The last line is whole too, or the text was cut.
  if (lines.size() < 3 || !lines.back().empty()) return std::nullopt;
  lines.pop_back();
  if (lines.size() - 1 > kRegistrationsMax) return std::nullopt;

  PersistentReservations loaded;
  loaded.aptpl_ = true;
  const std::vector<std::string> head = absl::StrSplit(lines[0], absl::MaxSplits(' ', 2));
  if (head.size() != 3) return std::nullopt;
  const auto type = Number(head[0], 10, 8);
  const auto holder_port = Number(head[1], 10, UINT16_MAX);
  if (!type || !holder_port) return std::nullopt;
  if (*type != 0 && !IsReservationType(static_cast<uint8_t>(*type))) return std::nullopt;
  loaded.type_ = static_cast<ReservationType>(*type);

  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> parts = absl::StrSplit(lines[i], absl::MaxSplits(' ', 3));
    if (parts.size() != 4 || parts[3].empty()) return std::nullopt;
    const auto key = Number(parts[0], 16, UINT64_MAX);
    const auto all_ports = Number(parts[1], 10, 1);
    const auto port = Number(parts[2], 10, UINT16_MAX);
    if (!key || *key == 0 || !all_ports || !port) return std::nullopt;
    const NexusName name{parts[3], static_cast<uint16_t>(*port)};
    if (loaded.Find(name) != nullptr) return std::nullopt;
    loaded.registrations_.push_back({name, *key, *all_ports != 0});
  }
  if (loaded.reserved() && !IsAllRegistrants(loaded.type_)) {
    loaded.holder_ = NexusName{head[2], static_cast<uint16_t>(*holder_port)};
    if (loaded.Find(*loaded.holder_) == nullptr) return std::nullopt;
  } else if (head[2] != "-") {
    return std::nullopt;
  }
  return loaded;
}

}  // namespace pollux::scsi
