#pragma once
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <span>

#include "core/check.h"

namespace pollux::history {

using Random = std::mt19937_64;
inline uint64_t Below(Random& random, uint64_t bound) { return random() % bound; }

// A buffer cut into segments of any length at any address, with gaps that nobody may touch.
class Scattered {
 public:
  static constexpr size_t kSegmentsMax = 12;
  static constexpr size_t kGapMax = 64;
  static constexpr size_t kSlackBytes = kSegmentsMax * kGapMax + 4096;
  static constexpr std::byte kUntouched{0xa5};

  // `memory` has what is needed for the most bytes, and kSlackBytes.
  void Use(std::byte* memory) { memory_ = memory; }

  // One aligned segment, one anywhere, or many.
  void Cut(Random& random, size_t bytes) {
    count_ = 0;
    const uint64_t manner = Below(random, 4);
    std::byte* at = memory_ + (manner == 0 ? 0 : Below(random, kGapMax));
    first_ = memory_;
    const size_t pieces = manner < 2 ? 1 : 1 + Below(random, kSegmentsMax - 1);
    for (size_t left = bytes; left > 0;) {
      const bool last = count_ + 1 >= pieces;
      const size_t length = last ? left : std::min<size_t>(left, Below(random, bytes));
      segments_[count_++] = {length == 0 ? nullptr : at, length};
      left -= length;
      at += length + (manner == 3 && left > 0 ? Below(random, kGapMax) : 0);
    }
    end_ = at;
  }
  std::span<const iovec> segments() const { return {segments_.data(), count_}; }

  void CopyIn(const std::byte* from) {
    for (const iovec& segment : segments()) {
      if (segment.iov_len > 0) memcpy(segment.iov_base, from, segment.iov_len);
      from += segment.iov_len;
    }
  }
  // Before something is read into it.
  void Smear() { memset(first_, static_cast<int>(kUntouched), static_cast<size_t>(end_ - first_)); }
  // False when a gap was written to.
  bool CopyOut(std::byte* to) const {
    const std::byte* gap = first_;
    for (const iovec& segment : segments()) {
      if (segment.iov_len == 0) continue;
      const auto* data = static_cast<const std::byte*>(segment.iov_base);
      if (!std::all_of(gap, data, [](std::byte b) { return b == kUntouched; })) return false;
      memcpy(to, data, segment.iov_len);
      to += segment.iov_len;
      gap = data + segment.iov_len;
    }
    return true;
  }

 private:
  std::byte* memory_ = nullptr;
  std::byte *first_ = nullptr, *end_ = nullptr;
  std::array<iovec, kSegmentsMax + 1> segments_;
  size_t count_ = 0;
};

}  // namespace pollux::history
