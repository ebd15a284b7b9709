#include <algorithm>

#include "targets/nvmf/subsystem_view.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {
namespace {

// Bounds how long one Copy keeps a buffer and the disk busy.
constexpr uint64_t kCopyBytesMax = 16 << 20;

}  // namespace

bool NamespaceFacts::VisibleTo(const std::string& hostnqn) const {
  return hosts == nullptr || std::binary_search(hosts->begin(), hosts->end(), hostnqn);
}

// Both halves lie in one buffer.
uint32_t NamespaceFacts::FusedBlocksMax() const {
  if (!compare_and_write) return 0;
  const uint64_t in_buffer = Worker::kLargeBufferBytes / 2 / geometry.data_block_bytes();
  const uint64_t of_disk = limits.compare_and_write_blocks_max;
  return static_cast<uint32_t>(of_disk == 0 ? in_buffer : std::min(in_buffer, of_disk));
}

uint32_t NamespaceFacts::CopyBlocksMax() const {
  return static_cast<uint32_t>(kCopyBytesMax / geometry.block_bytes);
}

uint16_t NamespaceFacts::CopyRangeBlocksMax() const {
  return static_cast<uint16_t>(std::min<uint32_t>(CopyBlocksMax(), UINT16_MAX));
}

}  // namespace pollux::nvmf
