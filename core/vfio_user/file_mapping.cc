#include "core/vfio_user/file_mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "core/check.h"

namespace pollux::vfio_user {
namespace {

// More than any machine has; and rounding cannot overflow.
constexpr uint64_t kBytesMax = uint64_t{1} << 46;

// What mmap wants offset and length to be multiples of. Files of huge pages say so as their block
// size; for others the block size does no harm.
uint64_t AlignmentOf(const struct stat& file) {
  constexpr uint64_t kPage = 4096, kLargest = uint64_t{1} << 30;
  const auto block = static_cast<uint64_t>(file.st_blksize);
  return std::has_single_bit(block) ? std::clamp(block, kPage, kLargest) : kPage;
}

}  // namespace

FileMapping::~FileMapping() {
  guard_.reset();
  if (!mapped_.empty()) CHECK(munmap(mapped_.data(), mapped_.size()) == 0);
}

int FileMapping::Map(int fd, uint64_t offset, uint64_t bytes, int access, MappingGuard::Cover cover,
                     int bell) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return errno;
  const auto file_bytes = static_cast<uint64_t>(file.st_size);
  if (!S_ISREG(file.st_mode) || bytes == 0 || offset > file_bytes || bytes > file_bytes - offset) {
    return EINVAL;
  }
  if (bytes > kBytesMax) return ENOMEM;

  const uint64_t alignment = AlignmentOf(file);
  const uint64_t begin = offset & ~(alignment - 1);
  const uint64_t before = offset - begin;
  const uint64_t length = (before + bytes + alignment - 1) & ~(alignment - 1);
  void* const base = mmap(nullptr, length, access, MAP_SHARED, fd, static_cast<off_t>(begin));
  if (base == MAP_FAILED) return errno;
  madvise(base, length, MADV_DONTDUMP);  // A peer's memory has no place in our core dumps.
  FileMapping mapping;
  mapping.mapped_ = {static_cast<std::byte*>(base), length};
  mapping.address_ = mapping.mapped_.data() + before;
  Result<MappingGuard> guard =
      MappingGuard::Protect(mapping.mapped_.data(), mapping.mapped_.size(), cover, bell);
  if (!guard.ok()) return ErrnoOf(guard.status());
  mapping.guard_.emplace(*std::move(guard));
  *this = std::move(mapping);
  return 0;
}

}  // namespace pollux::vfio_user
