#include "drivers/nvme_disk/nvme_attach_options.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {

pollux_nvme_attach_options NvmeAttachOptions(const NvmeAttachment& attachment,
                                             const NvmeOptions& general, size_t io_queues) {
  pollux_nvme_attach_options options{};
  options.io_queues = static_cast<uint16_t>(io_queues);
  options.io_queue_depth = kNvmeQueueDepth;
  const auto to_ms = [](uint64_t us) {
    return static_cast<uint32_t>(std::min<uint64_t>((us + 999) / 1000, UINT32_MAX));
  };
  options.admin_timeout_ms = to_ms(general.timeout_admin_us);
  options.io_timeout_ms = to_ms(general.timeout_us);
  options.on_io_timeout = general.action_on_timeout;
  options.no_host_memory_buffer = true;  // Its memory would be taken for every controller.
  options.arbitration_burst = static_cast<uint8_t>(general.arbitration_burst);
  options.high_priority_weight = static_cast<uint8_t>(general.high_priority_weight);
  options.medium_priority_weight = static_cast<uint8_t>(general.medium_priority_weight);
  options.low_priority_weight = static_cast<uint8_t>(general.low_priority_weight);
  snprintf(options.host_nqn, sizeof(options.host_nqn), "%s", attachment.hostnqn.c_str());
  options.header_digest = attachment.header_digest;
  options.data_digest = attachment.data_digest;
  options.no_sq_flow_control = attachment.no_sq_flow_control;
  snprintf(options.host_traddr, sizeof(options.host_traddr), "%s", attachment.hostaddr.c_str());
  snprintf(options.host_trsvcid, sizeof(options.host_trsvcid), "%s", attachment.hostsvcid.c_str());
  options.connect_timeout_ms = to_ms(attachment.connect_timeout_us);
  if (IsNvmeFabric(attachment.id)) {
    options.keep_alive_ms = general.keep_alive_ms == 0 ? UINT32_MAX : general.keep_alive_ms;
  }
  const NvmeReconnecting& own = attachment.reconnecting;
  const NvmeReconnecting& again = own.loss_timeout_sec != 0 ? own : general.reconnecting;
  const auto sec_to_ms = [](uint32_t sec) {
    return static_cast<uint32_t>(std::min<uint64_t>(uint64_t{sec} * 1000, UINT32_MAX - 1));
  };
  options.reconnect_delay_ms = sec_to_ms(again.delay_sec);
  options.fast_io_fail_ms = sec_to_ms(again.fast_io_fail_sec);
  options.loss_timeout_ms = again.loss_timeout_sec < 0
                                ? UINT32_MAX
                                : sec_to_ms(static_cast<uint32_t>(again.loss_timeout_sec));
  return options;
}

}  // namespace pollux
