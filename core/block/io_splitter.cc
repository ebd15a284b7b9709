#include "core/block/io_splitter.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "core/block/block_channel.h"
#include "core/block/block_device.h"
#include "core/check.h"

namespace pollux {
namespace {

// What write zeroes are made of, where the device has none.
constexpr size_t kZeroesBytes = 64 << 10;
alignas(4096) constexpr std::byte kZeroes[kZeroesBytes] = {};

uint64_t BlocksOfLimit(uint64_t limit_bytes, uint32_t block_bytes) {
  return limit_bytes == 0 ? UINT64_MAX : std::max<uint64_t>(1, limit_bytes / block_bytes);
}
uint64_t NoLimitIfZero(uint64_t limit) { return limit == 0 ? UINT64_MAX : limit; }

}  // namespace

// How far a request has got. It lies in the request's device area: the request itself never goes to
// the device.
struct IoSplitter::Split {
  explicit Split(IoRequest& r) : parent(r) {}
  bool done_sending() const { return status != IoStatus::kSuccess || next_block == parent.blocks; }

  IoRequest& parent;
  ListNode line_node;
  uint64_t next_block = 0;  // Of the request, not of the device.
  size_t segment = 0;       // Where its data begins: a segment, and a place in it.
  size_t segment_offset = 0;
  uint64_t miscompare_offset = UINT64_MAX;
  uint32_t parts_under_way = 0;
  IoStatus status = IoStatus::kSuccess;  // The first that is not success stays.
};

class IoSplitter::Part final : public IoRequest, public BufferPool::Waiter {
 public:
  void OnComplete() override { splitter->OnPartEnded(*this); }
  void OnBuffer(std::byte* given) override {
    buffer = given;
    read_target.iov_base = given;
    place_ = Place::kDevice;
    splitter->channel_.DoSubmit(*this);
  }

  IoSplitter* splitter = nullptr;
  Split* split = nullptr;
  ListNode free_node;
  uint64_t byte_offset = 0;     // Of the request's data.
  std::byte* buffer = nullptr;  // An emulated compare reads here...
  iovec read_target{};
  size_t segment_count = 0;
  std::array<iovec, kSegmentsMax> segments;  // ...and compares with these.
};

struct IoSplitter::Parts {
  std::array<Part, kPartCount> all;
  IntrusiveList<Part, &Part::free_node> free;
  IntrusiveList<Split, &Split::line_node> line;
};

IoSplitter::IoSplitter(BlockChannel& channel, const Geometry& geometry, const Limits& limits,
                       const Options& options)
    : channel_(channel),
      options_(options),
      block_bytes_(geometry.data_block_bytes()),
      metadata_bytes_(geometry.metadata_interleaved ? 0 : geometry.metadata_bytes),
      boundary_blocks_(geometry.optimal_boundary_blocks),
      segments_max_(limits.segments_max == 0 ? kSegmentsMax
                                             : std::min<size_t>(limits.segments_max, kSegmentsMax)),
      io_blocks_max_(BlocksOfLimit(limits.io_bytes_max, block_bytes_)),
      unmap_blocks_max_(NoLimitIfZero(limits.unmap_blocks_max)),
      write_zeroes_blocks_max_(NoLimitIfZero(limits.write_zeroes_blocks_max)),
      parts_(std::make_unique<Parts>()) {
  static_assert(sizeof(Split) <= IoRequest::kDeviceAreaBytes);
  CHECK(
      options.compare_buffers == nullptr || options.compare_buffers->buffer_bytes() >= block_bytes_,
      "a compare needs room for a block");
  for (Part& part : parts_->all) {
    part.splitter = this;
    part.internal_ = true;
    parts_->free.PushBack(part);
  }
}

IoSplitter::~IoSplitter() {
  CHECK(parts_->line.empty() && parts_->free.size() == kPartCount);
  while (parts_->free.PopFront() != nullptr) {
  }
}

IoSplitter::Split& IoSplitter::SplitOf(IoRequest& parent) {
  return *std::launder(reinterpret_cast<Split*>(parent.device_area));
}

void IoSplitter::Start(IoRequest& parent) {
  Split& split = *new (parent.device_area) Split(parent);
  parts_->line.PushBack(split);
  Dispatch();
}

void IoSplitter::Dispatch() {
  while (!parts_->free.empty() && !parts_->line.empty()) {
    Part& part = *parts_->free.PopFront();
    Split& split = *parts_->line.PopFront();
    if (Send(split, part)) parts_->line.PushBack(split);
  }
}

bool IoSplitter::Send(Split& split, Part& part) {
  if (!Cut(split, part)) {
    parts_->free.PushFront(part);
    split.status = IoStatus::kInvalidRequest;
    EndIfDone(split);
    return false;
  }
  part.split = &split;
  part.channel_ = &channel_;
  part.place_ = IoRequest::Place::kDevice;
  ++split.parts_under_way;
  if (IsEmulatedCompare(part)) {
    part.buffer = options_.compare_buffers->TryTake();
    if (part.buffer == nullptr) {
      part.place_ = IoRequest::Place::kHeld;
      options_.compare_buffers->Wait(part);
      return !split.done_sending();
    }
    part.read_target.iov_base = part.buffer;
  }
  channel_.DoSubmit(part);
  return !split.done_sending();
}

bool IoSplitter::IsEmulatedCompare(const Part& part) const {
  return options_.compare_buffers != nullptr && part.split->parent.type == IoType::kCompare;
}

uint64_t IoSplitter::BlocksMax(IoType type) const {
  switch (type) {
    case IoType::kUnmap:
      return unmap_blocks_max_;
    case IoType::kWriteZeroes:
      if (!options_.emulate_write_zeroes) return write_zeroes_blocks_max_;
      return std::min<uint64_t>(io_blocks_max_, segments_max_ * kZeroesBytes / block_bytes_);
    case IoType::kCompare:
      if (options_.compare_buffers == nullptr) return io_blocks_max_;
      return std::min<uint64_t>(io_blocks_max_,
                                options_.compare_buffers->buffer_bytes() / block_bytes_);
    default:
      return io_blocks_max_;
  }
}

// Makes `part` the next piece of the request. False when a single block lies in more segments than
// a part can name.
bool IoSplitter::Cut(Split& split, Part& part) const {
  const IoRequest& parent = split.parent;
  part.type = parent.type;
  part.fua = parent.fua;
  part.lba = parent.lba + split.next_block;
  part.data = {};
  part.byte_offset = split.next_block * block_bytes_;
  part.metadata =
      parent.metadata == nullptr ? nullptr : parent.metadata + split.next_block * metadata_bytes_;

  uint64_t blocks = std::min(parent.blocks - split.next_block, BlocksMax(parent.type));
  if (boundary_blocks_ > 0 && parent.type != IoType::kUnmap) {
    blocks = std::min(blocks, boundary_blocks_ - part.lba % boundary_blocks_);
  }
  switch (parent.type) {
    case IoType::kUnmap:
      part.blocks = blocks;
      break;
    case IoType::kWriteZeroes:
      part.blocks = blocks;
      if (options_.emulate_write_zeroes) CutZeroes(part, blocks);
      break;
    default:
      if (!CutData(split, part, blocks)) return false;
  }
  split.next_block += part.blocks;
  return true;
}

bool IoSplitter::CutData(Split& split, Part& part, uint64_t blocks_max) const {
  const std::span<const iovec> data = split.parent.data;
  // First, how much the segments of one part can hold of it; then whole blocks of that.
  uint64_t reach = 0;
  size_t used = 0;
  for (size_t i = split.segment, skip = split.segment_offset;
       i < data.size() && used < segments_max_ && reach < blocks_max * block_bytes_; ++i) {
    const size_t length = data[i].iov_len - skip;
    skip = 0;
    reach += length;
    if (length > 0) ++used;
  }
  part.blocks = std::min(blocks_max, reach / block_bytes_);
  if (part.blocks == 0) return false;

  part.segment_count = 0;
  for (uint64_t left = part.blocks * block_bytes_; left > 0;) {
    const iovec& source = data[split.segment];
    const size_t length =
        static_cast<size_t>(std::min<uint64_t>(left, source.iov_len - split.segment_offset));
    if (length > 0) {
      part.segments[part.segment_count++] = {
          static_cast<std::byte*>(source.iov_base) + split.segment_offset, length};
    }
    split.segment_offset += length;
    left -= length;
    if (split.segment_offset == source.iov_len) {
      ++split.segment;
      split.segment_offset = 0;
    }
  }
  part.data = {part.segments.data(), part.segment_count};
  if (split.parent.type == IoType::kCompare && options_.compare_buffers != nullptr) {
    part.type = IoType::kRead;
    part.metadata = nullptr;
    part.read_target.iov_len = part.blocks * block_bytes_;
    part.data = {&part.read_target, 1};
  }
  return true;
}

void IoSplitter::CutZeroes(Part& part, uint64_t blocks) const {
  part.type = IoType::kWrite;
  part.segment_count = 0;
  for (uint64_t left = blocks * block_bytes_; left > 0;) {
    const size_t length = static_cast<size_t>(std::min<uint64_t>(left, kZeroesBytes));
    // It is only read from: an iovec has no const.
    part.segments[part.segment_count++] = {const_cast<std::byte*>(kZeroes), length};
    left -= length;
  }
  part.data = {part.segments.data(), part.segment_count};
}

void IoSplitter::OnPartEnded(Part& part) {
  Split& split = *part.split;
  if (part.status == IoStatus::kSuccess && IsEmulatedCompare(part)) Compare(part);
  if (part.status == IoStatus::kMiscompare) {
    split.miscompare_offset =
        std::min(split.miscompare_offset, part.byte_offset + part.miscompare_offset);
  }
  if (split.status == IoStatus::kSuccess) {
    split.status = part.status;
    split.parent.nvme_status = part.nvme_status;
  }
  if (split.status != IoStatus::kSuccess && split.line_node.linked()) parts_->line.Remove(split);
  --split.parts_under_way;
  std::byte* const buffer = std::exchange(part.buffer, nullptr);
  parts_->free.PushBack(part);
  EndIfDone(split);
  if (buffer != nullptr) options_.compare_buffers->Give(buffer);
  Dispatch();
}

void IoSplitter::Compare(Part& part) const {
  size_t offset = 0;
  for (size_t i = 0; i < part.segment_count; ++i) {
    const auto* expected = static_cast<const std::byte*>(part.segments[i].iov_base);
    const size_t length = part.segments[i].iov_len;
    if (memcmp(part.buffer + offset, expected, length) != 0) {
      const auto [found, want] =
          std::mismatch(part.buffer + offset, part.buffer + offset + length, expected);
      part.miscompare_offset = static_cast<uint64_t>(found - part.buffer);
      part.status = IoStatus::kMiscompare;
      return;
    }
    offset += length;
  }
}

void IoSplitter::EndIfDone(Split& split) {
  if (split.parts_under_way > 0 || !split.done_sending()) return;
  IoRequest& parent = split.parent;
  const IoStatus status = split.status;
  if (status == IoStatus::kMiscompare) parent.miscompare_offset = split.miscompare_offset;
  split.~Split();
  channel_.Complete(parent, status);
}

void IoSplitter::Abort(IoRequest& parent) {
  Split& split = SplitOf(parent);
  split.status = IoStatus::kAborted;
  if (split.line_node.linked()) parts_->line.Remove(split);
  if (split.parts_under_way == 0) return EndIfDone(split);
  for (Part& part : parts_->all) {
    if (part.channel_ == nullptr || part.split != &split) continue;
    if (part.place_ == IoRequest::Place::kHeld) {
      options_.compare_buffers->CancelWait(part);
      channel_.Complete(part, IoStatus::kAborted);
    } else if (part.place_ == IoRequest::Place::kDevice) {
      channel_.TryAbort(part);
    }
  }
}

}  // namespace pollux
