#include "core/default_paths.h"

#include <unistd.h>

#include <cstdlib>

namespace pollux {
namespace {

// The environment's directory, or `fallback` below the home directory.
std::string UserDirectory(const char* variable, const char* fallback) {
  if (const char* value = std::getenv(variable); value != nullptr && *value == '/') return value;
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/tmp") + fallback;
}

}  // namespace

std::string DefaultRpcSocket() {
  if (geteuid() == 0) return "/run/pollux/pollux.sock";
  return UserDirectory("XDG_RUNTIME_DIR", "/.cache") + "/pollux/pollux.sock";
}

std::string DefaultStateDirectory() {
  if (geteuid() == 0) return "/var/lib/pollux";
  return UserDirectory("XDG_STATE_HOME", "/.local/state") + "/pollux";
}

}  // namespace pollux
