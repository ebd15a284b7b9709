#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

// Protection information as T10 and NVM §5.2 have it: eight bytes of every block's metadata, with a
// guard (a CRC of 16 bits), an application tag and a reference tag.
//
// Lists hold blocks one after the other, cut anywhere; parts of no bytes are skipped. "Interleaved"
// blocks are followed by their metadata; otherwise all metadata lies in one separate buffer, block
// by block. A list that is too short for `blocks` is a fault of the caller's (CHECKed); what is
// beyond them is left alone.

namespace pollux {

inline constexpr uint32_t kProtectionBytes = 8;

// How blocks look.
struct ProtectionFormat {
  uint32_t block_bytes = 512;                  // Of the data alone.
  uint32_t metadata_bytes = kProtectionBytes;  // Per block; at least these.
  uint8_t type = 1;                            // 1 to 3.
  // At the start of the metadata rather than at its end. What of the metadata is before it is a
  // part of what the guard is of.
  bool first = false;

  bool valid() const {
    return block_bytes > 0 && metadata_bytes >= kProtectionBytes && type >= 1 && type <= 3;
  }
};

// What it says, or is to say.
struct ProtectionTags {
  uint16_t application = 0;
  // Of the first block. It rises by one from block to block; of type 3 it is the same in all.
  uint32_t reference = 0;
};

// What is held against the tags. A block with the escape value is not checked: application tag
// FFFFh, and of type 3 reference tag FFFFFFFFh too. Of type 3 the reference tag never is: it is the
// application's.
struct ProtectionChecks {
  bool guard = true, application_tag = true, reference_tag = true;
  uint16_t application_mask = 0xffff;  // Bits of the application tag that count.

  bool any() const { return guard || application_tag || reference_tag; }
};

struct Protection {
  ProtectionFormat format;
  ProtectionTags tags;
  ProtectionChecks checks;
};

// The first thing found wrong: of a block the guard, then the application tag, then the reference
// tag.
struct ProtectionFault {
  enum class Field { kGuard, kApplicationTag, kReferenceTag };
  Field field;
  uint64_t block;  // 0: the first of these.
  // As they are, the mask aside: `found` is what the block has.
  uint32_t expected, found;

  bool operator==(const ProtectionFault&) const = default;
};
using ProtectionResult = std::optional<ProtectionFault>;

// Interleaved, in place. What else is in the metadata stays.
void GenerateProtection(const Protection& protection, uint64_t blocks,
                        std::span<const iovec> interleaved);
ProtectionResult VerifyProtection(const Protection& protection, uint64_t blocks,
                                  std::span<const iovec> interleaved);

// Between data alone and interleaved blocks, which do not overlap. Inserting zeroes what else is in
// the metadata. Stripping verifies; of what is wrong, blocks may have been copied or not.
void InsertProtection(const Protection& protection, uint64_t blocks, std::span<const iovec> data,
                      std::span<const iovec> interleaved);
ProtectionResult StripProtection(const Protection& protection, uint64_t blocks,
                                 std::span<const iovec> interleaved, std::span<const iovec> data);

// Separate: `metadata` has blocks times metadata_bytes.
void GenerateProtection(const Protection& protection, uint64_t blocks, std::span<const iovec> data,
                        std::span<std::byte> metadata);
ProtectionResult VerifyProtection(const Protection& protection, uint64_t blocks,
                                  std::span<const iovec> data, std::span<const std::byte> metadata);

}  // namespace pollux
