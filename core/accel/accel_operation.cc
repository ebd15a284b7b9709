#include "core/accel/accel_operation.h"

namespace pollux {

const char* AccelStatusName(AccelStatus status) {
  switch (status) {
    case AccelStatus::kSuccess:
      return "success";
    case AccelStatus::kMiscompare:
      return "miscompare";
    case AccelStatus::kProtectionError:
      return "protection error";
    case AccelStatus::kInvalid:
      return "invalid";
    case AccelStatus::kFailed:
      return "failed";
    case AccelStatus::kSkipped:
      return "skipped";
  }
  return "unknown";
}

}  // namespace pollux
