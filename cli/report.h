#pragma once
#include <ostream>
#include <string>

#include "cli/session.h"

namespace pollux::cli {

// The server's refusal of a call, in words and then for programs: code, field, value, reason.
void ShowRefusal(std::ostream& err, const std::string& method, const Answer& answer);

}  // namespace pollux::cli
