#pragma once
#include <ostream>

#include "cli/run.h"
#include "cli/session.h"

namespace pollux::cli {

// Prints what happens, as it happens, until it is killed, nobody reads, or the server is gone. As
// JSON: an event a line, as it came. `wait_ms` is how long one call may wait for the next event.
ExitCode Watch(Session& session, bool json, uint64_t wait_ms, std::ostream& out, std::ostream& err);

}  // namespace pollux::cli
