#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "core/mapping_guard.h"

namespace pollux::vfio_user {

// Shared memory of the peer's: a piece of a file that came through the socket.
class FileMapping {
 public:
  FileMapping() = default;
  FileMapping(FileMapping&& other) noexcept
      : mapped_(std::exchange(other.mapped_, {})),
        address_(std::exchange(other.address_, nullptr)),
        guard_(std::move(other.guard_)) {}
  FileMapping& operator=(FileMapping&& other) noexcept {
    std::swap(mapped_, other.mapped_);
    std::swap(address_, other.address_);
    std::swap(guard_, other.guard_);
    return *this;
  }
  ~FileMapping();

  // Maps [offset, offset + bytes) of `fd` with `access`, a set of PROT_*. Neither needs to be a
  // multiple of the page. EINVAL when the file does not reach that far, or is none of which one can
  // tell: it has to be a regular file, such as a memfd. Returns 0 or a positive errno.
  //
  // The peer may make the file shorter afterwards: then an access finds `cover`, and rings `bell`,
  // as MappingGuard has it.
  int Map(int fd, uint64_t offset, uint64_t bytes, int access, MappingGuard::Cover cover,
          int bell = -1);

  std::byte* address() const { return address_; }
  // The whole pages, or huge pages, that are mapped.
  std::span<std::byte> mapped() const { return mapped_; }
  // Something was accessed that the peer had taken away. Any thread.
  bool tripped() const { return guard_.has_value() && guard_->tripped(); }

 private:
  std::span<std::byte> mapped_;
  std::byte* address_ = nullptr;
  std::optional<MappingGuard> guard_;
};

}  // namespace pollux::vfio_user
