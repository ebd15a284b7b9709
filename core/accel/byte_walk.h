#pragma once
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "core/check.h"

namespace pollux {

// Steps through the bytes of a scatter list. More than it has is never wanted.
class ByteWalk {
 public:
  explicit ByteWalk(std::span<const iovec> parts) : parts_(parts) {}

  // At most `bytes`, and at least one, that lie together.
  std::span<std::byte> Next(size_t bytes) {
    while (at_ == part_.size()) {
      CHECK(!parts_.empty(), "a scatter list is too short");
      part_ = {static_cast<std::byte*>(parts_.front().iov_base), parts_.front().iov_len};
      parts_ = parts_.subspan(1);
      at_ = 0;
    }
    const std::span<std::byte> piece = part_.subspan(at_, std::min(bytes, part_.size() - at_));
    at_ += piece.size();
    return piece;
  }

  void Read(void* to, size_t bytes) {
    for (auto* out = static_cast<std::byte*>(to); bytes > 0;) {
      const std::span<std::byte> piece = Next(bytes);
      std::memcpy(out, piece.data(), piece.size());
      out += piece.size();
      bytes -= piece.size();
    }
  }
  void Write(const void* from, size_t bytes) {
    for (const auto* in = static_cast<const std::byte*>(from); bytes > 0;) {
      const std::span<std::byte> piece = Next(bytes);
      std::memcpy(piece.data(), in, piece.size());
      in += piece.size();
      bytes -= piece.size();
    }
  }
  void Zero(size_t bytes) {
    while (bytes > 0) {
      const std::span<std::byte> piece = Next(bytes);
      std::memset(piece.data(), 0, piece.size());
      bytes -= piece.size();
    }
  }
  void Skip(size_t bytes) {
    while (bytes > 0) bytes -= Next(bytes).size();
  }

 private:
  std::span<const iovec> parts_;  // Those after part_.
  std::span<std::byte> part_;
  size_t at_ = 0;  // In part_.
};

}  // namespace pollux
