#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/accel/accel_opcode.h"
#include "core/accel/protection.h"

namespace pollux {

// Of the operations on protection information (PI): what it says or shall say, and what was found
// wrong first.
struct AccelProtection {
  Protection what;
  ProtectionResult fault;
};

inline constexpr size_t kAccelXorSourcesMax = 32;

enum class AccelStatus : uint8_t {
  kSuccess,
  kMiscompare,       // Compare found a difference: see mismatch_offset.
  kProtectionError,  // A check of protection information failed: see protection.
  kInvalid,          // The operation contradicts itself; nothing was done.
  kFailed,           // It could not be executed. Its destination may have been written.
  kSkipped,          // Not begun, since one before it in its chain did not succeed.
};
// "success", "miscompare", ...
const char* AccelStatusName(AccelStatus status);

// One operation. Embed it in the object that waits for it: from AccelChannel::Submit until it has
// ended it stays where it is, and so do its buffers and the arrays that list them. The caller sets
// the first part; nothing here allocates.
//
//                 destination     source              other                 and
//   copy          as long as      the source
//   fill          any                                                       pattern
//   dualcast      as long as      the source          the second destination
//   compare                       as long as          `other`               mismatch_offset
//   crc32c                        any                                       crc
//   copy_crc32c   as long as      the source                                crc
//   xor           one piece       its length each, 2 to 32
//   dif_verify                    blocks with PI                            protection
//   dif_verify_copy    blocks     blocks with PI                            protection
//   dif_generate  blocks with PI                                            protection
//   dif_generate_copy  with PI    blocks                                    protection
//   dix_generate                  blocks              metadata, one piece   protection
//   dix_verify                    blocks              metadata, one piece   protection
//
// What is written overlaps nothing else, except that a fill, and PI made in place, write where they
// are. Pieces may be empty; an operation of no bytes succeeds.
class AccelOperation {
 public:
  AccelOperation() = default;
  AccelOperation(const AccelOperation&) = delete;
  AccelOperation& operator=(const AccelOperation&) = delete;

  AccelOpcode opcode = AccelOpcode::kCopy;
  // The outcome.
  AccelStatus status = AccelStatus::kSuccess;

 private:
  friend class AccelChannel;
  bool chained_ = false;

 public:
  uint32_t crc = 0;  // In: of what comes before; 0 at the beginning. Out: including the source.
  std::span<const iovec> destination, source, other;
  union {
    uint64_t pattern = 0;         // Its low byte comes first, and it begins anew after its eighth.
    uint64_t mismatch_offset;     // The first byte that differs.
    AccelProtection* protection;  // What to check or to make, and what was found.
  };
  // What is executed after this one has succeeded. The chain ends as one: see AccelChannel::Submit.
  AccelOperation* then = nullptr;

  // For Submit() that returned false: runs once when the operation, or the chain that it is the
  // last one of, has ended. On the reactor of the channel, never from within Submit.
  virtual void OnComplete() = 0;

  // For the module that executes it.
  static constexpr size_t kModuleAreaBytes = 24;
  alignas(8) std::byte module_area[kModuleAreaBytes];

 protected:
  ~AccelOperation() = default;
};

}  // namespace pollux
