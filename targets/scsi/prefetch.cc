#include "targets/scsi/commands.h"

// PRE-FETCH(10) and (16). SBC-3 §5.9, §5.10.

namespace pollux::scsi {

// A hint: there is no cache of ours for it, and GOOD says that not all blocks would fit into one.
void PreFetch(Execution& e) {
  const BlockRange range = ParseBlockRange(e);
  if (const auto sense = CheckRange(e, range.lba, range.blocks)) return e.EndWithSense(*sense);
  e.EndGood();
}

}  // namespace pollux::scsi
