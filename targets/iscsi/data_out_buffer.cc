#include "targets/iscsi/data_out_buffer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"

namespace pollux::iscsi {

void DataOutBuffer::Reset(std::byte* store, size_t store_bytes) {
  *this = {};
  store_ = store;
  store_bytes_ = store_bytes;
}

void DataOutBuffer::Want(uint64_t offset, std::span<const iovec> parts) {
  wanted_ = parts;
  wanted_begin_ = filled_to_ = wanted_end_ = offset;
  for (const iovec& part : parts) wanted_end_ += part.iov_len;
  Absorb();
}

// Moves what was stored, as far as the burst wants it.
void DataOutBuffer::Absorb() {
  if (filled_to_ < stored_begin_ || filled_to_ >= stored_end_) return;
  const uint64_t end = std::min(stored_end_, wanted_end_);
  if (end <= filled_to_) return;
  const std::byte* const source = lent() ? lent_.data() : store_;
  CopyToBurst(source + filled_to_, end - filled_to_);
  stored_begin_ = end;
  // What remains of a loan would not outlive this turn.
  if (stored_begin_ == stored_end_) lent_ = {};
}

bool DataOutBuffer::HasPlaceFor(size_t bytes) const {
  const uint64_t end = received_to_ + bytes;
  return end <= store_bytes_ || (GoesToBurst() && end <= wanted_end_);
}

size_t DataOutBuffer::BurstSlices(uint64_t offset, size_t bytes, std::span<iovec> parts) const {
  uint64_t skip = offset - wanted_begin_;
  size_t count = 0;
  for (const iovec& part : wanted_) {
    if (bytes == 0 || count == parts.size()) break;
    if (skip >= part.iov_len) {
      skip -= part.iov_len;
      continue;
    }
    const size_t slice = std::min<size_t>(part.iov_len - skip, bytes);
    parts[count++] = {static_cast<std::byte*>(part.iov_base) + skip, slice};
    bytes -= slice;
    skip = 0;
  }
  return count;
}

size_t DataOutBuffer::PlaceFor(size_t bytes, std::span<iovec> parts) {
  CHECK(HasPlaceFor(bytes) && bytes > 0);
  placed_in_burst_ = GoesToBurst();
  if (placed_in_burst_) {
    return BurstSlices(received_to_, std::min<uint64_t>(bytes, wanted_end_ - received_to_), parts);
  }
  parts[0] = {store_ + received_to_, bytes};
  return 1;
}

void DataOutBuffer::Landed(size_t bytes) {
  if (placed_in_burst_) {
    CHECK(bytes <= wanted_end_ - filled_to_);
    filled_to_ += bytes;
  } else {
    if (stored_begin_ == stored_end_) stored_begin_ = stored_end_ = received_to_;
    stored_end_ += bytes;
    Absorb();
  }
  received_to_ += bytes;
}

void DataOutBuffer::Copy(std::span<const std::byte> data) {
  while (!data.empty()) {
    std::array<iovec, 4> parts;
    const size_t count = PlaceFor(data.size(), parts);
    size_t copied = 0;
    for (size_t i = 0; i < count; ++i) {
      std::memcpy(parts[i].iov_base, data.data() + copied, parts[i].iov_len);
      copied += parts[i].iov_len;
    }
    Landed(copied);
    data = data.subspan(copied);
  }
}

void DataOutBuffer::CopyToBurst(const std::byte* from, size_t bytes) {
  while (bytes > 0) {
    std::array<iovec, 4> parts;
    const size_t count = BurstSlices(filled_to_, bytes, parts);
    for (size_t i = 0; i < count; ++i) {
      std::memcpy(parts[i].iov_base, from, parts[i].iov_len);
      from += parts[i].iov_len;
      bytes -= parts[i].iov_len;
      filled_to_ += parts[i].iov_len;
    }
  }
}

void DataOutBuffer::Lend(std::span<const std::byte> data) {
  CHECK(received_to_ == 0 && data.size() <= store_bytes_);
  lent_ = data;
  stored_end_ = received_to_ = data.size();
}

void DataOutBuffer::SetAside() {
  if (!lent()) return;
  std::memcpy(store_ + stored_begin_, lent_.data() + stored_begin_, stored_end_ - stored_begin_);
  lent_ = {};
}

}  // namespace pollux::iscsi
