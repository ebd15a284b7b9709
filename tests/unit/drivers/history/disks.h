#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_device.h"
#include "tests/unit/drivers/history/disk_history.h"
#include "tests/unit/drivers/history/scattered.h"
#include "tests/unit/drivers/history/stage.h"

namespace pollux::history {

// A disk, or a stack of them, that can be taken away and put back.
class DiskUnderTest {
 public:
  virtual ~DiskUnderTest() = default;

  virtual Promises promises() const { return {}; }
  // Whether what was written is there when it comes back: as far as its size then reaches, behind
  // which are zeroes. Otherwise all is zeroes.
  virtual bool survives() const { return false; }

  virtual BlockDevice* Plug() = 0;
  // Takes the device away. Its users are told.
  virtual Task<Status> Unplug() = 0;
  // Makes it larger while it is used, to `blocks`. What comes to it is zeroes.
  virtual bool can_grow() const { return false; }
  virtual Task<Status> Grow(uint64_t blocks);
  // Whatever else may happen to it under load.
  virtual Task<Status> Trouble(Random&) { co_return OkStatus(); }
  // Around which block I/O is to meet.
  virtual uint64_t crowded_from() const { return 0; }
};

// The table: every disk and stack that the proof is made over. One line each.
struct DiskKind {
  const char* name;
  // Null where this machine has not what it needs.
  std::unique_ptr<DiskUnderTest> (*make)(Stage& stage);
  bool with_threads;  // It is run by reactors that have threads too.
  // It is that much slower than memory: so many times fewer I/Os.
  uint64_t slowness;
};
const std::vector<DiskKind>& DiskKinds();

}  // namespace pollux::history
