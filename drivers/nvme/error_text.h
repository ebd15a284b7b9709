#pragma once
#include <string>

#include "core/status.h"

namespace pollux::nvme {

// What pollux_nvme_error_text() says on this thread.
void SetErrorText(std::string text);

// Remembers why, and returns the negative errno; 0 when nothing is wrong.
int Fail(const Status& status);

}  // namespace pollux::nvme
