#pragma once
#include <cstdint>
#include <vector>

#include "cli/tool/random.h"
#include "cli/workload/io_options.h"

namespace pollux::cli {

// Which I/O comes next on one queue. A unit is what one I/O covers. With `verify` it also keeps,
// for each unit, which generation was written last; then no two I/Os are on the same unit at a
// time.
class Workload {
 public:
  struct Shape {
    Pattern pattern = Pattern::kRandRead;
    uint64_t units = 0;  // At least one.
    unsigned mix = 50;   // Percent of reads.
    unsigned unmap = 0;  // Percent of all that are neither.
    uint64_t seed = 1;
    bool verify = false;
    bool endless = true;  // Verify: pass after pass.
  };
  struct Operation {
    bool is_read = false;
    bool unmaps = false;  // Neither a read nor a write: the unit is not known afterwards.
    uint64_t unit = 0;
    // Of a write, what to write; of a read, what to expect. 0: not known.
    uint32_t generation = 0;
  };
  // Allocates four bytes for each unit when it verifies.
  explicit Workload(const Shape& shape);

  // False: none now, since the unit is in use, or none any more, when done().
  bool Next(Operation& into);
  // The I/O ended, or was not begun.
  void Ended(const Operation& operation, bool succeeded);
  bool done() const { return done_; }
  uint64_t passes() const { return passes_; }

  static constexpr uint64_t kVerifiedUnitsMax = uint64_t{1} << 28;

 private:
  static constexpr uint32_t kBusy = 1u << 31;
  static constexpr uint32_t kGenerationMax = kBusy - 1;

  void ChooseKind(Operation& into);
  bool ChooseRead();
  uint64_t ChooseUnit();
  void Advance();

  const Shape shape_;
  Random random_;
  uint64_t cursor_ = 0;
  uint64_t passes_ = 0;
  bool reading_back_ = false;  // Verify: the second half of a pass.
  bool done_ = false;
  std::vector<uint32_t> generations_;  // With kBusy.
};

}  // namespace pollux::cli
