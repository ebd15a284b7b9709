#pragma once
#include <cstddef>
#include <cstdint>

#include "core/unique_fd.h"

namespace pollux::models {

// Zeroed memory that another process can map: a memfd of whole pages.
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* address() const { return address_; }
  size_t bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }

 private:
  const size_t bytes_;
  UniqueFd fd_;
  std::byte* address_;
};

}  // namespace pollux::models
