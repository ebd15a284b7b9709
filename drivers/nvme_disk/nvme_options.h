#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "drivers/nvme/nvme.h"

namespace pollux {

using NvmeState = enum pollux_nvme_state;  // The function has the same name.

// How long a lost connection is tried again, and waited for. All zero: as often as a reset is
// tried.
struct NvmeReconnecting {
  int32_t loss_timeout_sec = 0;  // Then the disks go. -1: never.
  uint32_t delay_sec = 0;
  uint32_t fast_io_fail_sec = 0;  // Then I/O fails. 0: when the disks go.
};

// How I/O is spread over the paths of a disk. Paths of a better ANA state come first in any case.
struct NvmePathChoice {
  enum class Policy : uint8_t { kActivePassive, kActiveActive };
  enum class Selector : uint8_t { kRoundRobin, kQueueDepth };
  Policy policy = Policy::kActivePassive;
  Selector selector = Selector::kRoundRobin;
  uint32_t min_io = 1;   // So many go one path before it is the next one's turn.
  bool failback = true;  // Back to the preferred path, or the first, when it is there again.
};

// What bdev_nvme_set_options decides of the controllers that are attached from then on.
struct NvmeOptions {
  pollux_nvme_timeout_action action_on_timeout = POLLUX_NVME_ON_TIMEOUT_NOTHING;
  uint64_t timeout_us = 0;        // 0: I/O never times out.
  uint64_t timeout_admin_us = 0;  // 0: the driver's own.
  uint32_t arbitration_burst = 0;
  uint32_t low_priority_weight = 0, medium_priority_weight = 0, high_priority_weight = 0;
  uint64_t adminq_poll_period_us = 10000;
  int32_t bdev_retry_count = 3;  // -1: without limit.
  bool nvme_error_stat = false;
  bool io_path_stat = false;
  NvmePathChoice choice;
  // On a network.
  uint32_t keep_alive_ms = 10000;  // 0: none.
  NvmeReconnecting reconnecting;
};

// A controller to attach, and how.
struct NvmeAttachment {
  std::string name;  // "Nvme0": its disks are "Nvme0n1" and so on.
  pollux_nvme_transport_id id{};
  std::string hostnqn;
  // On a network.
  std::string hostaddr, hostsvcid;  // From where to connect. Empty: any.
  bool header_digest = false, data_digest = false;
  bool no_sq_flow_control = false;
  uint64_t connect_timeout_us = 500000;
  NvmeReconnecting reconnecting;  // All zero: as the options say.
  bool prchk_reftag = false, prchk_guard = false;
  uint32_t num_io_queues = 1024;  // At most.
  uint32_t max_bdevs = 128;
  // What happens when the name has a path already.
  enum class Multipath : uint8_t { kMultipath, kFailover, kDisable };
  Multipath multipath = Multipath::kMultipath;
  std::optional<NvmePathChoice> choice;  // Of the disks. Nothing: as the options say.
};

}  // namespace pollux
