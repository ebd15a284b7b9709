#include "drivers/nvme_disk/scatter.h"

#include <algorithm>
#include <cstring>

namespace pollux {
namespace {

// Calls `visit(segment part, bytes done before it)` for [offset, offset + bytes) of a scatter list.
template <typename Visit>
void ForEachPart(std::span<const iovec> segments, uint64_t offset, size_t bytes, Visit visit) {
  size_t done = 0;
  for (const iovec& segment : segments) {
    if (offset >= segment.iov_len) {
      offset -= segment.iov_len;
      continue;
    }
    const size_t length = std::min<size_t>(bytes - done, segment.iov_len - offset);
    visit(static_cast<std::byte*>(segment.iov_base) + offset, length, done);
    done += length;
    offset = 0;
    if (done == bytes) return;
  }
}

}  // namespace

void Gather(std::span<const iovec> from, uint64_t offset, std::byte* to, size_t bytes) {
  ForEachPart(from, offset, bytes, [to](const std::byte* part, size_t length, size_t done) {
    memcpy(to + done, part, length);
  });
}

void Scatter(const std::byte* from, std::span<const iovec> to, uint64_t offset, size_t bytes) {
  ForEachPart(to, offset, bytes, [from](std::byte* part, size_t length, size_t done) {
    memcpy(part, from + done, length);
  });
}

size_t Difference(const std::byte* buffer, std::span<const iovec> with, uint64_t offset,
                  size_t bytes) {
  size_t found = bytes;
  ForEachPart(with, offset, bytes, [&](const std::byte* part, size_t length, size_t done) {
    if (found < bytes) return;
    const std::byte* here = buffer + done;
    const auto place = std::mismatch(here, here + length, part);
    if (place.first != here + length) found = static_cast<size_t>(place.first - buffer);
  });
  return found;
}

}  // namespace pollux
