#pragma once
#include <cstddef>
#include <cstdint>

namespace pollux::models {

// What a device model reaches of the host's memory.
class DmaSpace {
 public:
  // The memory at [iova, iova + bytes), or null when not all of it lies in one piece that the
  // device may read or, if `write`, write. Stays valid until the owner says otherwise.
  virtual std::byte* At(uint64_t iova, uint64_t bytes, bool write) = 0;

 protected:
  ~DmaSpace() = default;
};

}  // namespace pollux::models
