#include "tests/models/shared_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/check.h"

namespace pollux::models {

SharedMemory::SharedMemory(size_t bytes)
    : bytes_((bytes + 4095) / 4096 * 4096), fd_(memfd_create("model", MFD_CLOEXEC)) {
  CHECK(fd_.valid() && ftruncate(fd_.get(), static_cast<off_t>(bytes_)) == 0);
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  CHECK(memory != MAP_FAILED);
  address_ = static_cast<std::byte*>(memory);
}

SharedMemory::~SharedMemory() { munmap(address_, bytes_); }

}  // namespace pollux::models
