#include "cli/perf/error_counts.h"

#include "absl/strings/str_format.h"
#include "core/log.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {

void ErrorCounts::Add(uint16_t code, uint64_t count) {
  total_.store(total() + count, std::memory_order_relaxed);
  for (size_t i = 0; i < kinds_; ++i) {
    if (counts_[i].code != code) continue;
    counts_[i].count += count;
    return;
  }
  if (kinds_ < kKindsMax) counts_[kinds_++] = {code, count};
}

void ErrorCounts::Add(const ErrorCounts& other) {
  uint64_t named = 0;
  for (size_t i = 0; i < other.kinds_; ++i) {
    Add(other.counts_[i].code, other.counts_[i].count);
    named += other.counts_[i].count;
  }
  total_.store(total() + other.total() - named, std::memory_order_relaxed);
}

std::string ErrorCounts::Text() const {
  std::string text;
  uint64_t named = 0;
  for (size_t i = 0; i < kinds_; ++i) {
    char status[128];
    pollux_nvme_status_text(counts_[i].code, status, sizeof(status));
    text +=
        absl::StrFormat("%s%d x %s", text.empty() ? "" : ", ", counts_[i].count, Printable(status));
    named += counts_[i].count;
  }
  if (total() > named) text += absl::StrFormat(", %d x others", total() - named);
  return text;
}

}  // namespace pollux::cli
