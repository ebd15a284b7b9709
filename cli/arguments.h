#pragma once
#include <string>

#include "cli/catalog.h"
#include "cli/options.h"
#include "core/status.h"

namespace pollux::cli {

// The params of a call: a JSON object, or "" when there are none.
//
// Words fill the command's positional fields, in order, apart from those given as flags. A flag is
// --field VALUE or --field=VALUE; for a bool also --field and --no-field alone. -- ends the flags;
// a word such as -1 is none. Options of the command line may stand between; with --help nothing is
// checked. Fails saying what does not fit.
Result<std::string> ParseArguments(const Command& command, const Words& words, Options& options);

// A line of text to words, as a shell would: blanks separate, '...', "..." and \ protect, # begins
// a comment.
Result<Words> SplitWords(const std::string& line);

}  // namespace pollux::cli
