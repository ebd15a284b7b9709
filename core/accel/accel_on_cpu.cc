#include "core/accel/accel_on_cpu.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/accel/compare.h"
#include "core/accel/copy_crc32c.h"
#include "core/accel/crc32c.h"
#include "core/accel/dualcast.h"
#include "core/accel/fill.h"
#include "core/accel/protection.h"
#include "core/accel/xor.h"
#include "core/check.h"

namespace pollux {
namespace {

using Pieces = std::span<const iovec>;

uint64_t Sum(Pieces pieces) {
  uint64_t sum = 0;
  for (const iovec& piece : pieces) sum += piece.iov_len;
  return sum;
}

// Where memory lies, as numbers.
struct Extent {
  uintptr_t begin = UINTPTR_MAX, end = 0;
  bool Meets(const Extent& other) const { return begin < other.end && other.begin < end; }
};

Extent ExtentOf(const iovec& piece) {
  const auto begin = reinterpret_cast<uintptr_t>(piece.iov_base);
  return piece.iov_len == 0 ? Extent{} : Extent{begin, begin + piece.iov_len};
}

Extent ExtentOf(Pieces pieces) {
  Extent all;
  for (const iovec& piece : pieces) {
    const Extent one = ExtentOf(piece);
    all = {std::min(all.begin, one.begin), std::max(all.end, one.end)};
  }
  return all;
}

bool Meet(Pieces a, Pieces b) {
  if (!ExtentOf(a).Meets(ExtentOf(b))) return false;  // Nearly always.
  for (const iovec& x : a) {
    for (const iovec& y : b) {
      if (ExtentOf(x).Meets(ExtentOf(y))) return true;
    }
  }
  return false;
}

// The pieces of several lists of the same length, cut so that each step has one of every list.
class Cursor {
 public:
  explicit Cursor(Pieces pieces) : pieces_(pieces) { SkipEmpty(); }
  bool AtEnd() const { return pieces_.empty(); }
  size_t Left() const { return pieces_.front().iov_len - used_; }
  std::byte* At() const { return static_cast<std::byte*>(pieces_.front().iov_base) + used_; }
  std::span<const std::byte> Take(size_t bytes) {
    const std::span<const std::byte> taken(At(), bytes);
    used_ += bytes;
    SkipEmpty();
    return taken;
  }

 private:
  void SkipEmpty() {
    while (!pieces_.empty() && used_ == pieces_.front().iov_len) {
      pieces_ = pieces_.subspan(1);
      used_ = 0;
    }
  }
  Pieces pieces_;
  size_t used_ = 0;
};

void CopyPieces(Pieces to, Pieces from) {
  Cursor source(from);
  for (Cursor target(to); !target.AtEnd();) {
    const size_t bytes = std::min(target.Left(), source.Left());
    std::byte* const at = target.At();
    memcpy(at, source.Take(bytes).data(), bytes);
    target.Take(bytes);
  }
}

void DualcastPieces(Pieces first, Pieces second, Pieces from) {
  Cursor source(from), other(second);
  for (Cursor target(first); !target.AtEnd();) {
    const size_t bytes = std::min({target.Left(), other.Left(), source.Left()});
    Dualcast(target.At(), other.At(), source.Take(bytes));
    target.Take(bytes);
    other.Take(bytes);
  }
}

void FillPieces(Pieces to, uint64_t pattern) {
  uint64_t offset = 0;
  for (const iovec& piece : to) {
    FillWithPattern({static_cast<std::byte*>(piece.iov_base), piece.iov_len},
                    std::rotr(pattern, static_cast<int>(offset % 8 * 8)));
    offset += piece.iov_len;
  }
}

AccelStatus ComparePieces(Pieces a, Pieces b, uint64_t& mismatch_offset) {
  uint64_t offset = 0;
  Cursor second(b);
  for (Cursor first(a); !first.AtEnd();) {
    const size_t bytes = std::min(first.Left(), second.Left());
    if (const auto at = FirstDifference(first.Take(bytes), second.Take(bytes))) {
      mismatch_offset = offset + *at;
      return AccelStatus::kMiscompare;
    }
    offset += bytes;
  }
  return AccelStatus::kSuccess;
}

// What a block takes together with its metadata.
uint64_t InterleavedBytes(const AccelProtection& protection) {
  const ProtectionFormat& format = protection.what.format;
  return uint64_t{format.block_bytes} + format.metadata_bytes;
}

uint64_t BlocksOf(const AccelOperation& o) {
  return Sum(o.opcode == AccelOpcode::kDifGenerate ? o.destination : o.source) /
         (o.opcode == AccelOpcode::kDifGenerateCopy || o.opcode == AccelOpcode::kDixGenerate ||
                  o.opcode == AccelOpcode::kDixVerify
              ? o.protection->what.format.block_bytes
              : InterleavedBytes(*o.protection));
}

// Whole blocks on every side, and as many on all.
bool IsValidProtection(const AccelOperation& o) {
  if (o.protection == nullptr || !o.protection->what.format.valid()) return false;
  const uint64_t interleaved = InterleavedBytes(*o.protection);
  const uint64_t data = o.protection->what.format.block_bytes;
  const uint64_t blocks = BlocksOf(o);
  switch (o.opcode) {
    case AccelOpcode::kDifVerify:
      return Sum(o.source) == blocks * interleaved;
    case AccelOpcode::kDifGenerate:
      return Sum(o.destination) == blocks * interleaved;
    case AccelOpcode::kDifVerifyCopy:
      return Sum(o.source) == blocks * interleaved && Sum(o.destination) == blocks * data &&
             !Meet(o.source, o.destination);
    case AccelOpcode::kDifGenerateCopy:
      return Sum(o.source) == blocks * data && Sum(o.destination) == blocks * interleaved &&
             !Meet(o.source, o.destination);
    default:
      return Sum(o.source) == blocks * data && o.other.size() == 1 &&
             o.other[0].iov_len == blocks * o.protection->what.format.metadata_bytes &&
             (o.opcode == AccelOpcode::kDixVerify || !Meet(o.source, o.other));
  }
}

AccelStatus ExecuteProtection(AccelOperation& o) {
  const Protection& what = o.protection->what;
  const uint64_t blocks = BlocksOf(o);
  o.protection->fault.reset();
  std::span<std::byte> metadata;
  if (!o.other.empty())
    metadata = {static_cast<std::byte*>(o.other[0].iov_base), o.other[0].iov_len};
  switch (o.opcode) {
    case AccelOpcode::kDifGenerate:
      GenerateProtection(what, blocks, o.destination);
      break;
    case AccelOpcode::kDifGenerateCopy:
      InsertProtection(what, blocks, o.source, o.destination);
      break;
    case AccelOpcode::kDixGenerate:
      GenerateProtection(what, blocks, o.source, metadata);
      break;
    case AccelOpcode::kDifVerify:
      o.protection->fault = VerifyProtection(what, blocks, o.source);
      break;
    case AccelOpcode::kDifVerifyCopy:
      o.protection->fault = StripProtection(what, blocks, o.source, o.destination);
      break;
    default:
      o.protection->fault = VerifyProtection(what, blocks, o.source, metadata);
  }
  return o.protection->fault ? AccelStatus::kProtectionError : AccelStatus::kSuccess;
}

uint32_t PiecesCrc32c(Pieces pieces, uint32_t before) {
  for (const iovec& piece : pieces) {
    before = Crc32c({static_cast<const std::byte*>(piece.iov_base), piece.iov_len}, before);
  }
  return before;
}

}  // namespace

bool IsValid(const AccelOperation& operation) {
  const AccelOperation& o = operation;
  switch (o.opcode) {
    case AccelOpcode::kCopy:
    case AccelOpcode::kCopyCrc32c:
      return Sum(o.destination) == Sum(o.source) && !Meet(o.destination, o.source);
    case AccelOpcode::kFill:
    case AccelOpcode::kCrc32c:
      return true;
    case AccelOpcode::kDualcast:
      return Sum(o.destination) == Sum(o.source) && Sum(o.other) == Sum(o.source) &&
             !Meet(o.destination, o.source) && !Meet(o.other, o.source) &&
             !Meet(o.destination, o.other);
    case AccelOpcode::kCompare:
      return Sum(o.source) == Sum(o.other);
    case AccelOpcode::kXor:
      return o.destination.size() == 1 && o.source.size() >= 2 &&
             o.source.size() <= kAccelXorSourcesMax && !Meet(o.destination, o.source) &&
             std::all_of(o.source.begin(), o.source.end(), [&](const iovec& source) {
               return source.iov_len == o.destination[0].iov_len;
             });
    case AccelOpcode::kDifVerify:
    case AccelOpcode::kDifVerifyCopy:
    case AccelOpcode::kDifGenerate:
    case AccelOpcode::kDifGenerateCopy:
    case AccelOpcode::kDixGenerate:
    case AccelOpcode::kDixVerify:
      return IsValidProtection(o);
  }
  return false;
}

uint64_t BytesOf(const AccelOperation& operation) {
  switch (operation.opcode) {
    case AccelOpcode::kFill:
    case AccelOpcode::kXor:
    case AccelOpcode::kDifGenerate:
      return Sum(operation.destination);
    default:
      return Sum(operation.source);
  }
}

uint32_t CopyPiecesCrc32c(Pieces to, Pieces from, uint32_t before) {
  Cursor source(from);
  for (Cursor target(to); !target.AtEnd();) {
    const size_t bytes = std::min(target.Left(), source.Left());
    std::byte* const at = target.At();
    before = CopyCrc32c(at, source.Take(bytes), before);
    target.Take(bytes);
  }
  return before;
}

AccelStatus ExecuteOnCpu(AccelOperation& operation) {
  AccelOperation& o = operation;
  switch (o.opcode) {
    case AccelOpcode::kCopy:
      CopyPieces(o.destination, o.source);
      return AccelStatus::kSuccess;
    case AccelOpcode::kFill:
      FillPieces(o.destination, o.pattern);
      return AccelStatus::kSuccess;
    case AccelOpcode::kDualcast:
      DualcastPieces(o.destination, o.other, o.source);
      return AccelStatus::kSuccess;
    case AccelOpcode::kCompare:
      return ComparePieces(o.source, o.other, o.mismatch_offset);
    case AccelOpcode::kCrc32c:
      o.crc = PiecesCrc32c(o.source, o.crc);
      return AccelStatus::kSuccess;
    case AccelOpcode::kCopyCrc32c:
      o.crc = CopyPiecesCrc32c(o.destination, o.source, o.crc);
      return AccelStatus::kSuccess;
    case AccelOpcode::kXor: {
      const iovec to = o.destination[0];
      std::array<const std::byte*, kAccelXorSourcesMax> sources;
      for (size_t i = 0; i < o.source.size(); ++i) {
        sources[i] = static_cast<const std::byte*>(o.source[i].iov_base);
      }
      if (to.iov_len == 0) return AccelStatus::kSuccess;
      XorInto(static_cast<std::byte*>(to.iov_base), {sources.data(), o.source.size()}, to.iov_len);
      return AccelStatus::kSuccess;
    }
    case AccelOpcode::kDifVerify:
    case AccelOpcode::kDifVerifyCopy:
    case AccelOpcode::kDifGenerate:
    case AccelOpcode::kDifGenerateCopy:
    case AccelOpcode::kDixGenerate:
    case AccelOpcode::kDixVerify:
      return ExecuteProtection(o);
  }
  CHECK(false);
}

}  // namespace pollux
