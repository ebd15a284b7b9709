#pragma once
#include <cstdint>
#include <string>

#include "core/status.h"
#include "core/unique_fd.h"

namespace pollux {

// The file or kernel block device behind a disk, open, and what is known of it.
struct BackingFile {
  UniqueFd fd;
  std::string path;
  bool is_block_device = false;
  bool direct = false;            // O_DIRECT: past the page cache.
  uint64_t bytes = 0;             // When it was opened.
  uint32_t sector_bytes = 512;    // What offsets and lengths of direct I/O must be multiples of.
  uint32_t memory_alignment = 1;  // The same for addresses.
  uint32_t physical_bytes = 512;  // What it is kept in.
  bool volatile_cache = true;     // A write may be lost at power failure until a sync.
  bool can_punch = false;         // fallocate() makes holes, which read as zeroes,
  bool can_zero = false;          // and zeroes without making holes.
  bool polled = false;            // Its device has queues that are polled, for direct I/O.
  bool can_discard = false;       // A block device forgets blocks, which then read as it likes.
};

// Opens it for one disk alone: EBUSY when another disk, or a mount, has it. Falls back to buffered
// I/O where the file system has no O_DIRECT, or not for blocks of `block_size` (0: any).
Result<BackingFile> OpenBackingFile(const std::string& path, bool readonly, uint32_t block_size);

// The present size of a file or block device.
Result<uint64_t> SizeOfFile(int fd);

// The same file again, by a description of its own, for one reactor. Claims and locks stay with the
// first: the kernel may close this one later than it is told.
Result<UniqueFd> ReopenForIo(const BackingFile& file, bool readonly);
// The same, for nothing but flushes: what one description hears of a failed write-back, another
// still has to be told.
Result<UniqueFd> ReopenForFlush(const BackingFile& file);

}  // namespace pollux
