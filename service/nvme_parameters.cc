#include "service/nvme_parameters.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "core/net/address.h"
#include "core/spec/nvmf_spec.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux::service {
namespace {

constexpr size_t kNameMax = 512;
constexpr size_t kNqnMax = 223;
constexpr size_t kDiscoveryNameMax = kNameMax - 5;  // The number comes after it.
constexpr char kDiscoveryPort[] = "8009";

// How long a lost connection is waited for: -1 is for ever, 0 not at all, and then the other two
// are 0 as well.
template <typename Request>
Status CheckReconnecting(const Request& request) {
  const int64_t loss = request.ctrlr_loss_timeout_sec();
  const int64_t delay = request.reconnect_delay_sec();
  const int64_t fail = request.fast_io_fail_timeout_sec();
  if (loss < -1) return InvalidField("ctrlr_loss_timeout_sec", loss, "is -1 or more");
  if (loss == 0) {
    if (delay == 0 && fail == 0) return OkStatus();
    return InvalidField("ctrlr_loss_timeout_sec", loss,
                        "must not be 0 beside reconnect_delay_sec %d and "
                        "fast_io_fail_timeout_sec %d",
                        delay, fail);
  }
  if (delay == 0 || (loss > 0 && delay > loss)) {
    return InvalidField("reconnect_delay_sec", delay, "is from 1 to ctrlr_loss_timeout_sec (%d)",
                        loss);
  }
  if (fail != 0 && (fail < delay || (loss > 0 && fail > loss))) {
    return InvalidField("fast_io_fail_timeout_sec", fail,
                        "is 0, or from reconnect_delay_sec (%d) to ctrlr_loss_timeout_sec (%d)",
                        delay, loss);
  }
  return OkStatus();
}

template <typename Request>
NvmeReconnecting ReconnectingOf(const Request& request) {
  return {.loss_timeout_sec = request.ctrlr_loss_timeout_sec(),
          .delay_sec = request.reconnect_delay_sec(),
          .fast_io_fail_sec = request.fast_io_fail_timeout_sec()};
}

Status CheckAtMost(const char* field, uint64_t value, uint64_t max) {
  if (value <= max) return OkStatus();
  return InvalidField(field, value, "is at most %d", max);
}

Status CheckFamily(const std::string& adrfam) {
  std::string lower = adrfam;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  for (const char* known : {"ipv4", "ipv6", "ib", "fc", "intra_host", "intra-host"}) {
    if (lower == known) return OkStatus();
  }
  return InvalidField("adrfam", adrfam, "is ipv4, ipv6, ib, fc or intra-host");
}

}  // namespace

Result<NvmePathChoice> NvmePathChoiceOf(const v1::NvmeMultipathOptions& options,
                                        NvmePathChoice otherwise) {
  NvmePathChoice choice = otherwise;
  if (options.has_policy()) {
    choice.policy = options.policy() == v1::NVME_PATH_POLICY_ACTIVE_ACTIVE
                        ? NvmePathChoice::Policy::kActiveActive
                        : NvmePathChoice::Policy::kActivePassive;
  }
  if (options.has_selector()) {
    choice.selector = options.selector() == v1::NVME_PATH_SELECTOR_QUEUE_DEPTH
                          ? NvmePathChoice::Selector::kQueueDepth
                          : NvmePathChoice::Selector::kRoundRobin;
  }
  if (options.has_min_io()) {
    if (options.min_io() == 0) return InvalidField("multipath_opts.min_io", 0, "is 1 or more");
    choice.min_io = options.min_io();
  }
  return choice;
}

Result<NvmeOptions> NvmeOptionsOf(const v1::BdevNvmeSetOptionsRequest& request) {
  RETURN_IF_ERROR(CheckReconnecting(request));
  RETURN_IF_ERROR(CheckAtMost("arbitration_burst", request.arbitration_burst(), 7));
  RETURN_IF_ERROR(CheckAtMost("low_priority_weight", request.low_priority_weight(), 255));
  RETURN_IF_ERROR(CheckAtMost("medium_priority_weight", request.medium_priority_weight(), 255));
  RETURN_IF_ERROR(CheckAtMost("high_priority_weight", request.high_priority_weight(), 255));
  RETURN_IF_ERROR(CheckAtMost("transport_ack_timeout", request.transport_ack_timeout(), 255));
  RETURN_IF_ERROR(CheckAtMost("transport_tos", request.transport_tos(), 255));
  RETURN_IF_ERROR(
      CheckAtMost("rdma_cm_event_timeout_ms", request.rdma_cm_event_timeout_ms(), 65535));
  if (request.bdev_retry_count() < -1) {
    return InvalidField("bdev_retry_count", request.bdev_retry_count(), "is -1 or more");
  }
  if (request.timeout_us() == 0 && request.timeout_admin_us() != 0) {
    return InvalidField("timeout_admin_us", request.timeout_admin_us(),
                        "needs a timeout_us that is not 0");
  }
  NvmeOptions options;
  switch (request.action_on_timeout()) {
    case v1::NVME_TIMEOUT_ACTION_RESET:
      options.action_on_timeout = POLLUX_NVME_ON_TIMEOUT_RESET;
      break;
    case v1::NVME_TIMEOUT_ACTION_ABORT:
      options.action_on_timeout = POLLUX_NVME_ON_TIMEOUT_ABORT;
      break;
    default:
      options.action_on_timeout = POLLUX_NVME_ON_TIMEOUT_NOTHING;
      break;
  }
  options.timeout_us = request.timeout_us();
  options.timeout_admin_us = request.timeout_admin_us();
  options.arbitration_burst = request.arbitration_burst();
  options.low_priority_weight = request.low_priority_weight();
  options.medium_priority_weight = request.medium_priority_weight();
  options.high_priority_weight = request.high_priority_weight();
  options.adminq_poll_period_us = request.nvme_adminq_poll_period_us();
  options.bdev_retry_count = request.bdev_retry_count();
  options.nvme_error_stat = request.nvme_error_stat();
  options.keep_alive_ms = request.keep_alive_timeout_ms();
  options.reconnecting = ReconnectingOf(request);
  options.io_path_stat = request.io_path_stat();
  ASSIGN_OR_RETURN(options.choice, NvmePathChoiceOf(request.multipath_opts(), options.choice));
  options.choice.failback = !request.disable_auto_failback();
  return options;
}

Result<NvmeAttachment> NvmeAttachmentOf(const v1::BdevNvmeAttachControllerRequest& request) {
  NvmeAttachment attachment;
  if (request.name().empty() || request.name().size() > kNameMax) {
    return InvalidField("name", request.name(), "has 1 to %d characters", kNameMax);
  }
  attachment.name = request.name();
  if (request.has_adrfam()) RETURN_IF_ERROR(CheckFamily(request.adrfam()));
  ASSIGN_OR_RETURN(attachment.id, NvmeTransportId({.trtype = request.trtype(),
                                                   .traddr = request.traddr(),
                                                   .adrfam = request.adrfam(),
                                                   .trsvcid = request.trsvcid(),
                                                   .subnqn = request.subnqn()}));
  for (const auto& [field, given] :
       {std::pair{"psk", request.has_psk()}, std::pair{"dhchap_key", request.has_dhchap_key()}}) {
    if (given && IsNvmeFabric(attachment.id)) {
      return ErrorOfField(ENOTSUP, field, "", "TLS and authentication are not in this version");
    }
  }
  if (request.hostnqn().size() > kNqnMax) {
    return InvalidField("hostnqn", request.hostnqn(), "has at most %d characters", kNqnMax);
  }
  RETURN_IF_ERROR(CheckReconnecting(request));
  if (request.num_io_queues() == 0 || request.num_io_queues() > 65535) {
    return InvalidField("num_io_queues", request.num_io_queues(), "is from 1 to 65535");
  }
  if (request.max_bdevs() == 0) return InvalidField("max_bdevs", 0, "is 1 or more");
  attachment.hostnqn = request.hostnqn();
  attachment.prchk_reftag = request.prchk_reftag();
  attachment.prchk_guard = request.prchk_guard();
  attachment.hostaddr = request.hostaddr();
  attachment.hostsvcid = request.hostsvcid();
  attachment.header_digest = request.hdgst();
  attachment.data_digest = request.ddgst();
  attachment.no_sq_flow_control = request.disable_sq_flow_control();
  attachment.connect_timeout_us = request.fabrics_connect_timeout_us();
  attachment.reconnecting = ReconnectingOf(request);
  attachment.num_io_queues = request.num_io_queues();
  attachment.max_bdevs = request.max_bdevs();
  switch (request.multipath()) {
    case v1::NVME_MULTIPATH_FAILOVER:
      attachment.multipath = NvmeAttachment::Multipath::kFailover;
      break;
    case v1::NVME_MULTIPATH_DISABLE:
      attachment.multipath = NvmeAttachment::Multipath::kDisable;
      break;
    default:
      attachment.multipath = NvmeAttachment::Multipath::kMultipath;
      break;
  }
  if (request.has_multipath_opts()) {
    ASSIGN_OR_RETURN(attachment.choice, NvmePathChoiceOf(request.multipath_opts(), {}));
  }
  return attachment;
}

Result<NvmeDiscoveryOptions> NvmeDiscoveryOptionsOf(
    const v1::BdevNvmeStartDiscoveryRequest& request) {
  NvmeDiscoveryOptions options;
  if (request.name().empty() || request.name().size() > kDiscoveryNameMax) {
    return InvalidField("name", request.name(), "has 1 to %d characters", kDiscoveryNameMax);
  }
  options.name = request.name();
  if (request.has_adrfam()) RETURN_IF_ERROR(CheckFamily(request.adrfam()));
  ASSIGN_OR_RETURN(options.id, NvmeTransportId({.trtype = request.trtype(),
                                                .traddr = request.traddr(),
                                                .adrfam = request.adrfam(),
                                                .trsvcid = request.has_trsvcid() ? request.trsvcid()
                                                                                 : kDiscoveryPort,
                                                .subnqn = nvme::kDiscoveryNqn}));
  if (!IsNvmeFabric(options.id)) {
    return InvalidField("trtype", request.trtype(), "is TCP: others have no discovery services");
  }
  // What can never be reached is not tried for ever.
  const Result<SocketAddress> address = SocketAddress::Parse(request.traddr(), 0);
  if (!address.ok()) return InvalidField("traddr", request.traddr(), "is no IP address");
  uint32_t port = 0;
  if (!absl::SimpleAtoi(options.id.trsvcid, &port) || port == 0 || port > UINT16_MAX) {
    return InvalidField("trsvcid", options.id.trsvcid, "is no port");
  }
  if (request.hostnqn().size() > kNqnMax) {
    return InvalidField("hostnqn", request.hostnqn(), "has at most %d characters", kNqnMax);
  }
  RETURN_IF_ERROR(CheckReconnecting(request));
  options.hostnqn = request.hostnqn();
  options.reconnecting = ReconnectingOf(request);
  options.subsystems.assign(request.subsystems().begin(), request.subsystems().end());
  return options;
}

bool IsMeant(const v1::BdevNvmeDetachControllerRequest& request, const NvmeAttachment& attachment) {
  const pollux_nvme_transport_id& id = attachment.id;
  const auto differs = [](bool said, const std::string& value, const char* its) {
    return said && strcasecmp(value.c_str(), its) != 0;
  };
  if (differs(request.has_trtype(), request.trtype(), NvmeTransportName(id)) ||
      differs(request.has_hostaddr(), request.hostaddr(), attachment.hostaddr.c_str()) ||
      differs(request.has_hostsvcid(), request.hostsvcid(), attachment.hostsvcid.c_str())) {
    return false;
  }
  // An address may be written in several ways.
  const Result<pollux_nvme_transport_id> asked =
      NvmeTransportId({.trtype = NvmeTransportName(id),
                       .traddr = request.has_traddr() ? request.traddr() : id.traddr,
                       .adrfam = request.adrfam(),
                       .trsvcid = request.has_trsvcid() ? request.trsvcid() : id.trsvcid,
                       .subnqn = request.has_subnqn() ? request.subnqn() : id.subnqn});
  return asked.ok() && SameNvmePlace(*asked, id);
}

void DescribeTransport(const pollux_nvme_transport_id& id, v1::NvmeTransportId& into) {
  into.set_trtype(NvmeTransportName(id));
  into.set_traddr(id.traddr);
  if (!IsNvmeFabric(id)) return;
  into.set_adrfam(NvmeFamilyName(id));
  into.set_trsvcid(id.trsvcid);
  into.set_subnqn(id.subnqn);
}

std::optional<std::string> DecodeBase64Url(const std::string& text) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(text, &bytes)) return std::nullopt;
  return bytes;
}

std::string EncodeBase64Url(const std::string& bytes) {
  std::string text = absl::WebSafeBase64Escape(bytes);
  while (text.size() % 4 != 0) text += '=';
  return text;
}

}  // namespace pollux::service
