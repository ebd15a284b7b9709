#include "targets/nvmf/error_log.h"

#include <cstddef>

#include "targets/nvmf/parameter_data.h"

namespace pollux::nvmf {

void ErrorLog::Add(const Error& error) {
  const uint64_t number = count_.fetch_add(1, std::memory_order_relaxed) + 1;
  Place& place = places_[number % kEntries];
  uint64_t before = place.version.load(std::memory_order_relaxed);
  const bool is_being_written = before % 2 != 0;
  if (is_being_written || before > 2 * number) return;
  if (!place.version.compare_exchange_strong(before, 2 * number - 1, std::memory_order_acquire,
                                             std::memory_order_relaxed)) {
    return;
  }
  // A reader that sees one of the words sees that the place is being written.
  place.words[0].store(error.sqid | uint64_t{error.cid} << 16 | uint64_t{error.status_field} << 32 |
                           uint64_t{error.location} << 48,
                       std::memory_order_release);
  place.words[1].store(error.lba, std::memory_order_release);
  place.words[2].store(error.nsid | uint64_t{error.trtype} << 32, std::memory_order_release);
  place.version.store(2 * number, std::memory_order_release);
}

bool ErrorLog::Read(uint64_t number, nvme::ErrorLogEntry& entry) const {
  const Place& place = places_[number % kEntries];
  if (place.version.load(std::memory_order_acquire) != 2 * number) return false;
  std::array<uint64_t, 3> words;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = place.words[i].load(std::memory_order_acquire);
  }
  if (place.version.load(std::memory_order_relaxed) != 2 * number) return false;
  entry.error_count = number;
  entry.sqid = static_cast<uint16_t>(words[0]);
  entry.cmdid = static_cast<uint16_t>(words[0] >> 16);
  entry.status = static_cast<uint16_t>(words[0] >> 32);
  entry.parameter_error_location = static_cast<uint16_t>(words[0] >> 48);
  entry.lba = words[1];
  entry.nsid = static_cast<uint32_t>(words[2]);
  entry.trtype = static_cast<uint8_t>(words[2] >> 32);
  return true;
}

std::string ErrorLog::LogPage() const {
  Page<std::array<nvme::ErrorLogEntry, kEntries>> page;
  uint64_t number = count();
  for (nvme::ErrorLogEntry& entry : *page) {
    if (number == cleared_) break;
    Read(number--, entry);
  }
  return page.Take();
}

uint16_t LocationOf(uint16_t status) {
  using namespace nvme::status;
  switch (status & 0x7ff) {
    case kInvalidOpcode:
      return LocationAt(offsetof(nvme::SubmissionEntry, opc));
    case kCommandIdConflict:
      return LocationAt(offsetof(nvme::SubmissionEntry, cid));
    case kInvalidNamespace:
      return LocationAt(offsetof(nvme::SubmissionEntry, nsid));
    case kSglDataLengthInvalid:  // The length of SGL1, and its type.
      return LocationAt(32);
    case kSglTypeInvalid:
      return LocationAt(39);
    case kLbaOutOfRange:
    case kInvalidLogPage:
    case kFeatureNotChangeable:
      return LocationAt(offsetof(nvme::SubmissionEntry, cdw10));
    case kFeatureNotSaveable:  // SV
      return LocationAt(offsetof(nvme::SubmissionEntry, cdw10) + 3, 7);
  }
  return kNoLocation;
}

}  // namespace pollux::nvmf
