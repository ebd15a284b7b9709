#pragma once
#include <cstdint>

namespace pollux {

// How an I/O ended: a small value, without text. Targets map it to their protocol's own status,
// once, at their edge.
enum class IoStatus : uint8_t {
  kSuccess,
  kInvalidRequest,  // The request contradicts itself or the device's geometry: a bug of the caller.
  kOutOfRange,      // Beyond the end of the device.
  kNotSupported,    // The device does not do this.
  kWriteProtected,  // The device is read-only.
  kMediumError,     // EIO: the data could not be read or written.
  kNoSpace,         // ENOSPC, EDQUOT: a thin device could not take the data.
  kMiscompare,      // Compare found a difference; see IoRequest::miscompare_offset.
  kAborted,         // By an abort or a reset.
  kGone,            // The device was removed.
  kTimedOut,
  kNoResources,  // Memory or a queue was short; it may be tried again.
  kInternalError,
  kNvmeFailure,  // As IoRequest::nvme_status says.
};
inline constexpr int kIoStatusCount = 14;

// "success", "medium error", ...
const char* IoStatusName(IoStatus status);
// The status of a positive errno of the kernel.
IoStatus IoStatusOfErrno(int error_number);
// What an NVMe status (SCT << 8 | SC, Base figures 94 to 99 and NVM figure 19) means for who does
// not speak NVMe. Other bits of the status field do not matter.
IoStatus IoStatusOfNvme(uint16_t status);

}  // namespace pollux
