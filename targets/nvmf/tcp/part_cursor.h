#pragma once
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "core/check.h"

namespace pollux::nvmf {

inline size_t BytesOf(std::span<const iovec> parts) {
  size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  return bytes;
}

// A place in memory that lies in several parts, which goes forward. The parts stay with their
// owner.
class PartCursor {
 public:
  PartCursor() = default;
  explicit PartCursor(std::span<const iovec> parts) : parts_(parts) {}

  // Copies `from` to the place and goes behind it.
  void Put(std::span<const std::byte> from) {
    while (!from.empty()) {
      CHECK(!parts_.empty(), "more data than there is room for");
      const iovec& part = parts_.front();
      const size_t bytes = std::min(from.size(), part.iov_len - used_);
      std::memcpy(static_cast<std::byte*>(part.iov_base) + used_, from.data(), bytes);
      from = from.subspan(bytes);
      Advance(bytes);
    }
  }

  // Lists the next `bytes`, or as many as `places` has room for, without going forward. None of the
  // places is empty. Returns how many there are.
  size_t List(std::span<iovec> places, size_t bytes) const {
    size_t count = 0, used = used_;
    for (const iovec& part : parts_) {
      if (bytes == 0 || count == places.size()) break;
      const size_t here = std::min(bytes, part.iov_len - used);
      if (here > 0) places[count++] = {static_cast<std::byte*>(part.iov_base) + used, here};
      bytes -= here;
      used = 0;
    }
    return count;
  }

  void Advance(size_t bytes) {
    used_ += bytes;
    while (!parts_.empty() && used_ >= parts_.front().iov_len) {
      used_ -= parts_.front().iov_len;
      parts_ = parts_.subspan(1);
    }
    CHECK(!parts_.empty() || used_ == 0);
  }

  bool at_end() const { return parts_.empty(); }

 private:
  std::span<const iovec> parts_;
  size_t used_ = 0;  // Of the first one.
};

}  // namespace pollux::nvmf
