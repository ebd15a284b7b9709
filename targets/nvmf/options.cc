// nvmf_create_transport and nvmf_set_config: what is allowed, and what memory follows from it.
#include "targets/nvmf/options.h"

#include <bit>

#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/transport.h"

namespace pollux::nvmf {
namespace {

template <typename T>
Status CheckRange(const char* field, T value, T low, T high) {
  if (value >= low && value <= high) return OkStatus();
  return InvalidField(field, value, "must be %d to %d", low, high);
}

}  // namespace

Status Validate(const TransportOptions& options) {
  RETURN_IF_ERROR(
      CheckRange<uint16_t>("max_queue_depth", options.max_queue_depth, 16, kQueueDepthMax));
  RETURN_IF_ERROR(CheckRange<uint16_t>("max_io_qpairs_per_ctrlr", options.max_io_qpairs_per_ctrlr,
                                       1, kIoQueuesMax));
  RETURN_IF_ERROR(CheckRange<uint16_t>("max_aq_depth", options.max_aq_depth, 32, kQueueDepthMax));
  if (options.in_capsule_data_size % 16 != 0 ||
      options.in_capsule_data_size > Worker::kSmallBufferBytes) {
    return InvalidField("in_capsule_data_size", options.in_capsule_data_size,
                        "must be a multiple of 16, at most %d", Worker::kSmallBufferBytes);
  }
  if (!std::has_single_bit(options.max_io_size) || options.max_io_size < 4096 ||
      options.max_io_size > kIoBytesMax) {
    return InvalidField("max_io_size", options.max_io_size,
                        "must be a power of two from 4096 to %d", kIoBytesMax);
  }
  if (options.dif_insert_or_strip) {
    return ErrorOfField(ENOTSUP, "dif_insert_or_strip", "true",
                        "protection information is passed through, never made or taken away here");
  }
  RETURN_IF_ERROR(CheckRange<uint32_t>("sock_priority", options.sock_priority, 0, 15));
  RETURN_IF_ERROR(CheckRange<uint32_t>("abort_timeout_sec", options.abort_timeout_sec, 1, 3600));
  RETURN_IF_ERROR(CheckRange<uint16_t>("kas", options.kas, 1, 6000));
  return CheckRange<uint32_t>("min_kato", options.min_kato, 0, 3600 * 1000);
}

ReactorBuffers::Size SmallBuffersOf(const TargetOptions& options) {
  return {Worker::kSmallBufferBytes, options.small_buffers};
}
ReactorBuffers::Size LargeBuffersOf(const TargetOptions& options) {
  return {Worker::kLargeBufferBytes, options.large_buffers};
}

std::vector<MemoryNeed> MemoryNeeds(const TargetOptions& options, size_t reactors) {
  return {ReactorBuffers::Need(kSmallBuffersConsumer, reactors, SmallBuffersOf(options)),
          ReactorBuffers::Need(kLargeBuffersConsumer, reactors, LargeBuffersOf(options))};
}

}  // namespace pollux::nvmf
