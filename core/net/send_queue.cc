#include "core/net/send_queue.h"

#include <algorithm>

#include "core/check.h"

namespace pollux {
namespace {

size_t SizeOf(const SendItem& item) {
  size_t bytes = 0;
  for (size_t i = 0; i < item.part_count; ++i) bytes += item.parts[i].iov_len;
  return bytes;
}

}  // namespace

void SendQueue::Push(SendItem& item) {
  CHECK(item.part_count <= SendItem::kPartsMax);
  item.bytes_ = SizeOf(item);
  bytes_ += item.bytes_;
  items_.PushBack(item);
}

size_t SendQueue::Gather(std::span<iovec> parts) {
  size_t count = 0;
  size_t skip = first_sent_;
  for (SendItem* item = items_.Front(); item != nullptr; item = items_.Next(*item)) {
    for (size_t i = 0; i < item->part_count; ++i) {
      iovec part = item->parts[i];
      if (skip > 0) [[unlikely]] {
        const size_t gone = std::min(skip, part.iov_len);
        skip -= gone;
        part.iov_base = static_cast<std::byte*>(part.iov_base) + gone;
        part.iov_len -= gone;
      }
      if (part.iov_len == 0) continue;
      if (count == parts.size()) return count;
      parts[count++] = part;
    }
  }
  return count;
}

void SendQueue::Advance(size_t bytes) {
  CHECK(bytes <= bytes_);
  bytes_ -= bytes;
  first_sent_ += bytes;
}

SendItem* SendQueue::PopSent() {
  SendItem* const first = items_.Front();
  if (first == nullptr || first_sent_ < first->bytes_) return nullptr;
  first_sent_ -= first->bytes_;
  items_.Remove(*first);
  return first;
}

void SendQueue::TakeAll(Items& dropped) {
  dropped.TakeAll(items_);
  bytes_ = first_sent_ = 0;
}

}  // namespace pollux
