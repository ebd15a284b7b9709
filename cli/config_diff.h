#pragma once
#include <string>
#include <vector>

#include "cli/catalog.h"
#include "rpc/spdk_config.h"

namespace pollux::cli {

// What a wanted configuration is beside the one that runs.
struct ConfigDifference {
  enum class Kind {
    kMissing,  // Wanted, and not there.
    kOther,    // There with other parameters.
    kExtra,    // There, and not wanted.
  };
  Kind kind;
  rpc::SavedCall call;  // Of the wanted configuration; of the running one where it is extra.
  // Of kOther, a line for each parameter: "block_size is 512, wanted 4096".
  std::vector<std::string> parameters = {};
};

// Call by call, in the order of `wanted`, then what is extra. Two calls are of the same thing when
// their methods are, and the name of the object that they make; of methods that make none, when
// their required parameters are the same. What a wanted call does not say may be anything.
std::vector<ConfigDifference> CompareConfigs(const Catalog& catalog,
                                             const std::vector<rpc::ConfiguredCall>& wanted,
                                             const std::vector<rpc::ConfiguredCall>& running);

}  // namespace pollux::cli
