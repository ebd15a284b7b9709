#pragma once
#include <cstddef>
#include <cstdint>

#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_options.h"

namespace pollux {

inline constexpr uint16_t kNvmeQueueDepth = 256;

// What the driver is told of a path; all but whom it tells of events.
pollux_nvme_attach_options NvmeAttachOptions(const NvmeAttachment& attachment,
                                             const NvmeOptions& general, size_t io_queues);

}  // namespace pollux
