#include "cli/workload/io_range.h"

#include "cli/tool/units.h"

namespace pollux::cli {

Result<IoRange> FindRange(const IoOptions& options, const std::string& disk, uint64_t blocks,
                          uint32_t io_blocks, unsigned workers) {
  if (options.first_block >= blocks || options.range_blocks > blocks - options.first_block) {
    return InvalidField("--range", options.first_block, "%s has %d blocks", disk, blocks);
  }
  const uint64_t wanted =
      options.range_blocks != 0 ? options.range_blocks : blocks - options.first_block;
  IoRange range{
      .first_block = options.first_block,
      .units = 0,
      .io_blocks = io_blocks,
      // What is written must not be under another's hand, and order is of one worker each.
      .apart = options.verify || !options.is_random()};
  range.units = wanted / io_blocks / (range.apart ? workers : 1);
  if (range.units == 0) {
    return InvalidField("--range", wanted, "is less than one I/O of %s for each queue",
                        BytesText(options.io_bytes));
  }
  if (options.verify && range.units > Workload::kVerifiedUnitsMax) {
    return InvalidArgument("%d I/Os are more than verifying can remember: give a smaller --range",
                           range.units);
  }
  return range;
}

Workload::Shape ShapeOf(const IoOptions& options, const IoRange& range, uint64_t number) {
  return {.pattern = options.pattern,
          .units = range.units,
          .mix = options.mix,
          .unmap = 0,
          .seed = options.seed + number,
          .verify = options.verify,
          .endless = options.duration_ns > 0 || options.count_max > 0};
}

}  // namespace pollux::cli
