#pragma once
#include <cstddef>

#include "core/status.h"
#include "core/task.h"
#include "drivers/ioat/ioat.h"

namespace pollux {

// How much memory the test of a channel needs.
inline constexpr size_t kIoatSelfTestBytes = 256 << 10;

// Has the channel copy, fill and XOR, at odd addresses and lengths, and looks whether the results
// are right and nothing beside them was touched. The channel belongs to the current loop; `memory`
// is the device's and has kIoatSelfTestBytes. Errors: EIO says what was wrong.
Task<Status> TestIoatChannel(pollux_ioat_channel* channel, pollux_ioat_device_info info,
                             std::byte* memory);

}  // namespace pollux
