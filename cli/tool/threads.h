#pragma once
#include <cstdint>
#include <thread>

#include "core/status.h"

namespace pollux::cli {

void SleepFor(uint64_t ns);
// An error of the flag -c, which names cores.
Status PinTo(std::thread& thread, unsigned core);

}  // namespace pollux::cli
