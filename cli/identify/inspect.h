#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/identify/report.h"
#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {

// How a controller is asked.
class AdminChannel {
 public:
  virtual ~AdminChannel() = default;
  // Runs a command and waits. Fails when it is not answered, or with an error.
  virtual Status Run(const pollux_nvme_command& command, void* data, size_t bytes) = 0;
};

enum class LogPage { kHealth, kError, kFirmware, kEffects, kSelfTest, kSanitize, kAna };
// "smart,error", or "all". The names are smart, error, firmware, effects, self-test, sanitize and
// ana.
Result<std::vector<LogPage>> ParseLogPages(const std::string& text);

struct InspectOptions {
  uint32_t nsid = 0;  // 0: all active ones.
  // Empty: those that every controller has, and effects where they are supported.
  std::vector<LogPage> logs;
};

// Asks the controller about itself, its namespaces and its logs. What it refuses to tell is a line
// of the report; that it does not answer at all, or a namespace that is not there, is an error.
// Nothing that it answers is believed: reports are bounded by the sizes of the structures.
Result<Section> Inspect(AdminChannel& admin, const InspectOptions& options);

}  // namespace pollux::cli
