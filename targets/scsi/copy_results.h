#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "targets/scsi/sense.h"

namespace pollux::scsi {

// What RECEIVE COPY RESULTS tells of one EXTENDED COPY. SPC-4 §6.18.
struct CopyResult {
  int lun = 0;
  uint8_t list_identifier = 0;
  bool under_way = true;
  uint16_t segments_processed = 0;
  uint64_t bytes = 0;
  std::optional<Sense> failure;
};

// The copies of one nexus that had a list identifier: those under way, and the last ones that have
// ended, until their status was read.
class CopyResults {
 public:
  static constexpr size_t kEndedMax = 32;

  // Null when a copy with that identifier is under way.
  std::shared_ptr<CopyResult> Begin(int lun, uint8_t list_identifier) {
    if (const CopyResult* const known = Find(lun, list_identifier)) {
      if (known->under_way) return nullptr;
      Forget(*known);
    }
    while (results_.size() >= kEndedMax && !results_.front()->under_way) results_.pop_front();
    auto result = std::make_shared<CopyResult>();
    result->lun = lun;
    result->list_identifier = list_identifier;
    results_.push_back(result);
    return result;
  }
  const CopyResult* Find(int lun, uint8_t list_identifier) const {
    for (const auto& result : results_) {
      if (result->lun == lun && result->list_identifier == list_identifier) return result.get();
    }
    return nullptr;
  }
  void Forget(const CopyResult& ended) {
    std::erase_if(results_, [&ended](const auto& result) { return result.get() == &ended; });
  }

 private:
  std::deque<std::shared_ptr<CopyResult>> results_;  // In the order of their beginning.
};

}  // namespace pollux::scsi
