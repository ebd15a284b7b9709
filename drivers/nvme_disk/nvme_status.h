#pragma once
#include <cstdint>

#include "core/block/io_status.h"
#include "drivers/nvme/nvme.h"

namespace pollux {

// How a command's status (SCT << 8 | SC, Base figures 94 to 99 and NVM figure 19) is told to the
// block layer. Other bits of the status field do not matter.
IoStatus IoStatusOfNvme(uint16_t status);
// The same for a command that the driver refused, with a negative errno.
IoStatus IoStatusOfSubmission(int error);

// Whether the same command may succeed when it is sent again: the controller does not say that it
// would fail again (DNR), nobody asked for its end, and it is no answer to a question.
bool MayRetryNvme(nvme::Completion completion);
// Whether the command may have been executed all the same: nobody has seen how it ended.
bool MayHaveBeenExecuted(uint16_t status);

}  // namespace pollux
