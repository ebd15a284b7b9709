#pragma once
#include <string_view>

namespace pollux::service {

// Tells systemd, when it started us with Type=notify: "READY=1", "STOPPING=1". sd_notify(3).
void NotifySystemd(std::string_view state);

}  // namespace pollux::service
