#pragma once
#include <cstdint>

#include "core/block/io_status.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_ana.h"

namespace pollux {

// How it is told to the block layer that the driver refused a command, with a negative errno. What
// became of one that it took says IoStatusOfNvme().
IoStatus IoStatusOfSubmission(int error);

// Whether the same command may succeed when it is sent again: the controller does not say that it
// would fail again (DNR), nobody asked for its end, and it is no answer to a question.
bool MayRetryNvme(nvme::Completion completion);
// SCT of what is said of a path and not of a command. Base figure 99.
inline constexpr uint16_t kPathRelated = 3;
// By the driver: the path took the command with it, and nobody knows what became of it.
inline bool IsLostOnPath(uint16_t code) {
  return code == POLLUX_NVME_ABORTED_BY_HOST || code == POLLUX_NVME_HOST_PATHING_ERROR;
}
// Refused for the state of asymmetric access, which is `AccessOfNvme()`.
inline bool IsAccessDenied(uint16_t code) { return code >= 0x301 && code <= 0x303; }
inline NvmeAccess AccessOfNvme(uint16_t code) {
  if (code == 0x301) return NvmeAccess::kLost;
  return code == 0x302 ? NvmeAccess::kInaccessible : NvmeAccess::kChange;
}
// Whether the command may have been executed all the same: nobody has seen how it ended.
bool MayHaveBeenExecuted(uint16_t status);

}  // namespace pollux
