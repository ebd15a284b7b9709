#pragma once
#include <memory>

#include "tests/unit/drivers/history/disks.h"

namespace pollux::history {

// Disks that lie on others, each on memory unless its name says otherwise. Now the stack is deleted
// before what it lies on, now its base goes and takes it along.
std::unique_ptr<DiskUnderTest> MakePassthruUnderTest(Stage& stage);
std::unique_ptr<DiskUnderTest> MakeDelayUnderTest(Stage& stage);
std::unique_ptr<DiskUnderTest> MakeErrorUnderTest(Stage& stage);  // Which fails now and then.
std::unique_ptr<DiskUnderTest> MakeSplitUnderTest(Stage& stage);
std::unique_ptr<DiskUnderTest> MakeConcatUnderTest(Stage& stage);
// Pass-through over delay over a file, which grows.
std::unique_ptr<DiskUnderTest> MakeTowerUnderTest(Stage& stage);

}  // namespace pollux::history
