#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "rpc/dispatcher.h"

namespace pollux::rpc {

// One entry of a configuration in SPDK's format, as save_config writes it and -c reads it:
//
//   {"subsystems": [{"subsystem": "bdev", "config": [{"method": ..., "params": {...}}, ...]}]}
struct ConfiguredCall {
  std::string subsystem;
  SavedCall call;
};

// The calls of a configuration, in order; batches (arrays of calls) are flattened, other members of
// the root are ignored, comments are allowed. Fails naming the place.
Result<std::vector<ConfiguredCall>> ParseSpdkConfig(std::string_view text);

}  // namespace pollux::rpc
