#pragma once
#include <memory>

#include "targets/scsi/copy_plan.h"
#include "targets/scsi/copy_results.h"
#include "targets/scsi/device_view.h"

namespace pollux::scsi {

// An EXTENDED COPY on the way. It copies what its nexus may read to where its nexus may write:
// each burst finds the logical units anew, by number, and asks what any command would be asked.
struct Copy {
  // A copy source or destination. None of ours: number -1.
  struct Unit {
    int number = -1;
    std::shared_ptr<const DiskFacts> disk;  // It is the same unit as long as this is.
  };

  CopyPlan plan;
  std::vector<Unit> units;  // Of plan.cscds.
  Unit this_unit;
  std::shared_ptr<CopyResult> result;

  size_t segment = 0;     // The one under way.
  uint64_t left = 0;      // Bytes of it that are still to be copied.
  uint64_t copied = 0;    // Bytes of it that are.
  uint64_t burst = 0;     // Bytes under way.
  bool backward = false;  // From its end, since it overlaps itself.
};

}  // namespace pollux::scsi
