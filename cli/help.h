#pragma once
#include <string>

#include "cli/catalog.h"
#include "rpc/reference/comments.h"

namespace pollux::cli {

// The command line, and every method with a line of its own.
std::string HelpOnAll(const Catalog& catalog, const rpc::Comments& comments);
// One method: what it does, its arguments, its result.
std::string HelpOn(const Command& command, const rpc::Comments& comments);
// "pollux bdev_malloc_create NUM_BLOCKS BLOCK_SIZE [--name TEXT] ..."
std::string UsageOf(const Command& command);

}  // namespace pollux::cli
