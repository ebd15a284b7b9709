#pragma once
#include <cstdint>
#include <string>

#include "core/loop.h"

namespace pollux::service {

// Loops as SPDK's clients see them: the control loop is thread 1, "app_thread"; the reactors
// follow.
inline constexpr uint64_t kControlThreadId = 1;
inline uint64_t ThreadIdOfReactor(size_t index) { return kControlThreadId + 1 + index; }

// A hexadecimal mask of the core that the loop is pinned to; "0" for one that is not.
std::string CpumaskOf(const Loop& loop);

// The NUMA node of the core that the loop is pinned to, from /sys; 0 where there is but one.
int NumaNodeOf(const Loop& loop);

}  // namespace pollux::service
