#include "core/memory/reactor_buffers.h"

#include "core/check.h"
#include "core/memory/pool_bound.h"

namespace pollux {

MemoryNeed ReactorBuffers::Need(const std::string& consumer, size_t reactors, Size size) {
  return {.consumer = absl::StrFormat("%s, %u reactors x %u x %u KiB", consumer, reactors,
                                      size.count, size.buffer_bytes / 1024),
          .bytes = reactors * size.count * size.buffer_bytes};
}

Result<std::unique_ptr<ReactorBuffers>> ReactorBuffers::Make(Memory& memory,
                                                             const std::string& consumer,
                                                             size_t reactors, Size size) {
  CHECK(reactors > 0 && size.count > 0 && size.buffer_bytes % 4096 == 0);
  size.count = BoundedPool(size.count);
  const MemoryNeed need = Need(consumer, reactors, size);
  ASSIGN_OR_RETURN(std::byte * memory_of_all, memory.Allocate(need.consumer, need.bytes));
  auto buffers = std::make_unique<ReactorBuffers>();
  for (size_t i = 0; i < reactors; ++i) {
    buffers->pools_.push_back(std::make_unique<BufferPool>(
        memory_of_all + i * size.count * size.buffer_bytes, size.buffer_bytes, size.count));
  }
  return buffers;
}

}  // namespace pollux
