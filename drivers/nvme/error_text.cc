#include "drivers/nvme/error_text.h"

#include <utility>

#include "drivers/nvme/nvme.h"

namespace pollux::nvme {
namespace {

std::string& Text() {
  thread_local std::string text;
  return text;
}

}  // namespace

void SetErrorText(std::string text) { Text() = std::move(text); }

int Fail(const Status& status) {
  if (status.ok()) return 0;
  SetErrorText(std::string(status.message()));
  return -ErrnoOf(status);
}

}  // namespace pollux::nvme

const char* pollux_nvme_error_text(void) { return pollux::nvme::Text().c_str(); }
