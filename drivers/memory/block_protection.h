#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/accel/protection.h"
#include "core/block/block_device.h"

namespace pollux {

// The protection information (PI) of a memory disk's blocks: where it lies, how it is kept, and
// what is held against it. A guard of 16 bits. NVM §5.2.
//
// The disk's pages have PI with every bit inverted. So pages that were never written, or punched,
// or filled with zeroes, say FFFFh, FFFFh, FFFFFFFFh: the escape, which every check lets pass, and
// what deallocated blocks shall say (NVM §3.2.3.2.1). Nothing need be written to make it so, and
// an empty disk takes no memory.
class BlockProtection {
 public:
  explicit BlockProtection(const Geometry& geometry);

  bool interleaved() const { return interleaved_; }

  // The data of a read or write, as its user has it, and its metadata: which is not null where it
  // is separate. As checks_guard and checks_reference_tag of the geometry say.
  bool Verify(const IoRequest& request) const;
  // Separate: PI for blocks whose writer has no metadata. Not inverted.
  void Generate(uint64_t lba, uint64_t blocks, std::span<const iovec> data,
                std::span<std::byte> metadata) const;

  // Of `blocks` blocks: the blocks themselves where metadata is interleaved, else metadata.
  // Inverts PI where it is, between the pages' form and the users'.
  void Invert(uint64_t blocks, std::span<const iovec> where) const;
  // The offset of the first byte of `given` that the pages do not have.
  std::optional<uint64_t> Compare(std::span<const std::byte> pages,
                                  std::span<const iovec> given) const;

 private:
  Protection Of(uint64_t lba) const;

  const bool interleaved_;
  const Protection protection_;
  const uint32_t metadata_bytes_;
  // Of one block: how far apart two are, and where PI begins.
  const uint32_t stride_, offset_;
};

}  // namespace pollux
