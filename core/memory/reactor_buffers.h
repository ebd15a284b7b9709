#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/memory/buffer_pool.h"
#include "core/memory/memory.h"
#include "core/status.h"

namespace pollux {

// One pool of equal buffers for each reactor, cut from one allocation. Made and destroyed on the
// control loop; each pool is touched by its reactor alone.
class ReactorBuffers {
 public:
  // What one reactor has.
  struct Size {
    size_t buffer_bytes = 0;  // A multiple of 4096, which then is every buffer's alignment too.
    size_t count = 0;
  };

  // Its line in the sum that memory is sized by.
  static MemoryNeed Need(const std::string& consumer, size_t reactors, Size size);
  static Result<std::unique_ptr<ReactorBuffers>> Make(Memory& memory, const std::string& consumer,
                                                      size_t reactors, Size size);

  BufferPool& of(size_t reactor_index) { return *pools_[reactor_index]; }

 private:
  std::vector<std::unique_ptr<BufferPool>> pools_;
};

}  // namespace pollux
