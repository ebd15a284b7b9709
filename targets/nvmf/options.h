#pragma once
#include "core/memory/reactor_buffers.h"
#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

inline constexpr uint16_t kQueueDepthMax = 1024;
inline constexpr uint16_t kIoQueuesMax = 127;  // Of a controller.
inline constexpr uint32_t kIoBytesMax = 1024 * 1024;

inline constexpr char kSmallBuffersConsumer[] = "nvmf: small data buffers";
inline constexpr char kLargeBuffersConsumer[] = "nvmf: large data buffers";
ReactorBuffers::Size SmallBuffersOf(const TargetOptions& options);
ReactorBuffers::Size LargeBuffersOf(const TargetOptions& options);

}  // namespace pollux::nvmf
