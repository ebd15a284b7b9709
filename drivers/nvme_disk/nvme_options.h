#pragma once
#include <cstdint>
#include <string>

#include "drivers/nvme/nvme.h"

namespace pollux {

using NvmeState = enum pollux_nvme_state;  // The function has the same name.

// What bdev_nvme_set_options decides of the controllers that are attached from then on. Options
// that mean something on a network only are the caller's to keep.
struct NvmeOptions {
  pollux_nvme_timeout_action action_on_timeout = POLLUX_NVME_ON_TIMEOUT_NOTHING;
  uint64_t timeout_us = 0;        // 0: I/O never times out.
  uint64_t timeout_admin_us = 0;  // 0: the driver's own.
  uint32_t arbitration_burst = 0;
  uint32_t low_priority_weight = 0, medium_priority_weight = 0, high_priority_weight = 0;
  uint64_t adminq_poll_period_us = 10000;
  int32_t bdev_retry_count = 3;  // -1: without limit.
  bool nvme_error_stat = false;
};

// A controller to attach, and how.
struct NvmeAttachment {
  std::string name;  // "Nvme0": its disks are "Nvme0n1" and so on.
  pollux_nvme_transport_id id{};
  std::string hostnqn;
  bool prchk_reftag = false, prchk_guard = false;
  uint32_t num_io_queues = 1024;  // At most.
  uint32_t max_bdevs = 128;
};

}  // namespace pollux
