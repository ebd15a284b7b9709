#pragma once
#include <memory>

#include "tests/unit/drivers/history/disks.h"

namespace pollux::history {

// A namespace of a controller's model in this process, whose commands take their time and overtake
// each other. Reactors stand still: the model has no thread of its own.
std::unique_ptr<DiskUnderTest> MakeNvmeUnderTest(Stage& stage);

}  // namespace pollux::history
