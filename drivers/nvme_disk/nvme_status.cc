#include "drivers/nvme_disk/nvme_status.h"

#include <cerrno>

namespace pollux {

IoStatus IoStatusOfSubmission(int error) {
  switch (-error) {
    case EAGAIN:
      return IoStatus::kNoResources;
    case ENXIO:
      return IoStatus::kGone;
    case EINVAL:
      return IoStatus::kInvalidRequest;
    case ENOTSUP:
      return IoStatus::kNotSupported;
    default:  // E2BIG, EFAULT: the channel has seen to it that neither happens.
      return IoStatus::kInternalError;
  }
}

bool MayRetryNvme(nvme::Completion completion) {
  if (pollux_nvme_do_not_retry(completion)) return false;
  switch (pollux_nvme_code(completion)) {
    case 0x000:
    case 0x007:  // Somebody asked for it.
    case 0x285:  // The answer is that the data differs.
    case POLLUX_NVME_HOST_PATHING_ERROR:
      return false;
    default:
      return true;
  }
}

bool MayHaveBeenExecuted(uint16_t status) {
  switch (status & 0x7ff) {
    case 0x005:
    case 0x007:
    case 0x008:
    case POLLUX_NVME_HOST_PATHING_ERROR:
    case POLLUX_NVME_ABORTED_BY_HOST:
      return true;
    default:
      return false;
  }
}

}  // namespace pollux
