#include "targets/vfio_user/dma_table.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "core/check.h"

namespace pollux::vfio_user {
namespace {

bool EndsWithin64Bits(uint64_t begin, uint64_t bytes) {
  return bytes > 0 && begin + (bytes - 1) >= begin;
}

}  // namespace

bool DmaTable::Entry::IsSame(const Entry& other) const {
  return region.iova == other.region.iova && region.bytes == other.region.bytes &&
         region.readable == other.region.readable && region.writable == other.region.writable &&
         has_file == other.has_file && device == other.device && inode == other.inode &&
         offset == other.offset;
}

size_t DmaTable::IndexBehind(uint64_t iova) const {
  const auto behind =
      std::upper_bound(entries_.begin(), entries_.end(), iova,
                       [](uint64_t at, const Entry& entry) { return at < entry.region.iova; });
  return static_cast<size_t>(behind - entries_.begin());
}

std::byte* DmaTable::Search(uint64_t iova, uint64_t bytes, bool write) const {
  const size_t behind = IndexBehind(iova);
  if (behind == 0) return nullptr;
  std::byte* const found = entries_[behind - 1].Memory(iova, bytes, write);
  if (found != nullptr) last_ = behind - 1;
  return found;
}

int DmaTable::Map(Request request, bool* added) {
  *added = false;
  Entry entry;
  entry.region = request.region;
  entry.region.address = nullptr;
  entry.offset = request.offset;
  entry.has_file = request.file.valid();
  const DmaRegion& region = entry.region;
  if (!EndsWithin64Bits(region.iova, region.bytes)) return EINVAL;

  struct stat file {};
  if (entry.has_file) {
    if (fstat(request.file.get(), &file) != 0) return errno;
    entry.device = file.st_dev;
    entry.inode = file.st_ino;
  }

  // What overlaps is the one before, which reaches into it, or the one behind, which it reaches.
  const size_t behind = IndexBehind(region.iova);
  if (behind > 0) {
    const Entry& before = entries_[behind - 1];
    if (before.IsSame(entry)) return 0;
    if (region.iova - before.region.iova < before.region.bytes) return EEXIST;
  }
  if (behind < entries_.size() && entries_[behind].region.iova - region.iova < region.bytes) {
    return EEXIST;
  }
  if (entries_.size() >= regions_max_) return ENOSPC;
  if (entry.has_file) {
    if (const int error = MapFile(request.file, entry); error != 0) return error;
  }
  entries_.insert(entries_.begin() + static_cast<std::ptrdiff_t>(behind), std::move(entry));
  *added = true;
  return 0;
}

int DmaTable::MapFile(const UniqueFd& file, Entry& entry) {
  DmaRegion& region = entry.region;
  if (region.bytes > kMappedBytesMax - mapped_bytes_) return ENOMEM;
  const int access = (region.readable ? PROT_READ : 0) | (region.writable ? PROT_WRITE : 0);
  const int error = entry.mapping.Map(file.get(), entry.offset, region.bytes, access,
                                      MappingGuard::Cover::kZeros, bell_);
  if (error != 0) return error;
  region.address = entry.mapping.address();
  mapped_bytes_ += region.bytes;
  return 0;
}

const DmaRegion* DmaTable::Find(uint64_t iova, uint64_t bytes) const {
  const size_t behind = IndexBehind(iova);
  if (behind == 0) return nullptr;
  const DmaRegion& region = entries_[behind - 1].region;
  return region.iova == iova && region.bytes == bytes ? &region : nullptr;
}

void DmaTable::Remove(uint64_t iova) {
  const size_t behind = IndexBehind(iova);
  CHECK(behind > 0 && entries_[behind - 1].region.iova == iova);
  const DmaRegion& region = entries_[behind - 1].region;
  if (region.address != nullptr) mapped_bytes_ -= region.bytes;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(behind) - 1);
}

std::vector<DmaRegion> DmaTable::regions() const {
  std::vector<DmaRegion> regions;
  regions.reserve(entries_.size());
  for (const Entry& entry : entries_) regions.push_back(entry.region);
  return regions;
}

}  // namespace pollux::vfio_user
