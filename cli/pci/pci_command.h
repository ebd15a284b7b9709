#pragma once
#include <ostream>
#include <string>
#include <vector>

#include "drivers/pci/host_files.h"

namespace pollux::cli {

// `pollux pci ...`: the PCI functions of this machine and their drivers. Speaks with the kernel,
// not with polluxd. `words`: what follows "pci". Returns the process's exit code, as Run() does: 0
// done, 1 refused, 2 misused.
int RunPci(const std::vector<std::string>& words, const pci::HostFiles& files, std::ostream& out,
           std::ostream& err);

}  // namespace pollux::cli
