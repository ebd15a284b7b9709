#pragma once
#include <string>

#include "core/status.h"

namespace pollux::rpc {

// Who is at the other end of a Unix socket: "uid 0 pid 812 (unix)". Only our user and root may be:
// EPERM otherwise.
Result<std::string> UnixCaller(int fd);

}  // namespace pollux::rpc
