// iscsi_set_options: what is allowed, and what memory follows from it.
#include "targets/iscsi/options.h"

#include <algorithm>

#include "targets/iscsi/auth_groups.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/names.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {
namespace {

// All memory for data that comes unasked. It is virtual until used.
constexpr size_t kUnsolicitedBytesMax = size_t{256} * 1024 * 1024;
constexpr size_t kBuffersMin = 16;
constexpr size_t kDefaultDataBuffersMax = 512;

template <typename T>
Status CheckRange(const char* field, T value, T low, T high) {
  if (value >= low && value <= high) return OkStatus();
  return InvalidField(field, value, "must be %d to %d", low, high);
}

}  // namespace

Status Validate(const Options& options) {
  RETURN_IF_ERROR(ValidateName("node_base", options.node_base));
  RETURN_IF_ERROR(CheckRange("nop_timeout", options.nop_timeout_s, 0, 3600));
  RETURN_IF_ERROR(CheckRange("nop_in_interval", options.nop_in_interval_s, 0, 60));
  RETURN_IF_ERROR(Validate(options.discovery));
  RETURN_IF_ERROR(CheckRange("max_sessions", options.max_sessions, 1u, 65534u));
  RETURN_IF_ERROR(CheckRange("max_queue_depth", options.max_queue_depth, 1u, 1024u));
  RETURN_IF_ERROR(
      CheckRange("max_connections_per_session", options.max_connections_per_session, 1u, 64u));
  RETURN_IF_ERROR(CheckRange("default_time2wait", options.default_time2wait_s, 0u, 3600u));
  RETURN_IF_ERROR(CheckRange("default_time2retain", options.default_time2retain_s, 0u, 3600u));
  RETURN_IF_ERROR(
      CheckRange("first_burst_length", options.first_burst_length, 512u, kMaxBurstLength));
  if (options.error_recovery_level != 0) {
    return ErrorOfField(ENOTSUP, "error_recovery_level",
                        std::to_string(options.error_recovery_level), "only 0 is supported");
  }
  RETURN_IF_ERROR(CheckRange("max_large_datain_per_connection",
                             options.max_large_datain_per_connection, 1u, 1024u));
  return CheckRange("max_r2t_per_connection", options.max_r2t_per_connection, 1u, 256u);
}

PoolSizes PoolSizesOf(const Options& options, size_t reactors) {
  PoolSizes sizes;
  const size_t wished =
      options.data_out_pool_size > 0
          ? options.data_out_pool_size
          : std::min<size_t>(size_t{16} * options.max_sessions, kDefaultDataBuffersMax * reactors);
  sizes.data_buffers = std::max(kBuffersMin, wished / reactors);

  // Until it is declared otherwise, immediate data may be as large as in login.
  sizes.unsolicited_bytes = std::max(options.first_burst_length, kLoginDataBytes);
  size_t count = options.immediate_data_pool_size > 0 ? options.immediate_data_pool_size
                                                      : size_t{128} * options.max_sessions;
  count = std::min(count, size_t{options.max_sessions} * options.max_queue_depth);
  count = std::min(count, kUnsolicitedBytesMax / sizes.unsolicited_bytes);
  sizes.unsolicited_buffers = std::max(kBuffersMin, count / reactors);
  return sizes;
}

std::vector<MemoryNeed> MemoryNeeds(const Options& options, size_t reactors) {
  const PoolSizes sizes = PoolSizesOf(options, reactors);
  return {ReactorBuffers::Need(kDataBuffersConsumer, reactors,
                               {Worker::kDataBufferBytes, sizes.data_buffers})};
}

Parameters WishesOf(const Options& options) {
  Parameters ours;
  ours.max_connections = options.max_connections_per_session;
  ours.initial_r2t = false;
  ours.immediate_data = options.immediate_data;
  ours.max_burst_length = kMaxBurstLength;
  ours.first_burst_length = options.first_burst_length;
  ours.default_time2wait = options.default_time2wait_s;
  ours.default_time2retain = options.default_time2retain_s;
  ours.max_outstanding_r2t = 1;
  ours.data_pdu_in_order = ours.data_sequence_in_order = true;
  ours.error_recovery_level = 0;
  ours.max_recv_data_segment_length = kMaxRecvDataSegmentLength;
  return ours;
}

}  // namespace pollux::iscsi
