#pragma once
#include <string>
#include <vector>

#include "cli/catalog.h"
#include "cli/options.h"
#include "cli/session.h"

namespace pollux::cli {

// What the last of `words` may become, as shells want it: commands and methods, flags, the words of
// an enumeration, and the names of objects that a running polluxd has, when it answers.
std::vector<std::string> Complete(const Catalog& catalog, const Words& words, Session& session);

// A script that teaches a shell, "bash" or "zsh", to ask for them; empty for any other.
std::string CompletionScript(const std::string& shell);

}  // namespace pollux::cli
