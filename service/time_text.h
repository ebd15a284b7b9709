#pragma once
#include <cstdint>
#include <string>

namespace pollux::service {

// A time in UTC as RFC 3339 writes it: "2026-11-22T13:05:09Z", "2026-11-22T13:05:09.120Z".
std::string TimeTextOfSeconds(int64_t since_1970);
std::string TimeTextOfMs(int64_t since_1970);

}  // namespace pollux::service
