#pragma once
#include <cstddef>
#include <map>
#include <utility>

namespace pollux::nvme {

// Cuts DMA-able memory into pieces: queues, lists, data of admin commands, pollux_nvme_alloc().
// First fit; control thread only.
//
// A piece that is not larger than a hugepage does not cross the border of one, so that it lies in
// one piece for a device without an IOMMU too.
class Arena {
 public:
  // `memory` outlives the arena.
  Arena(std::byte* memory, size_t bytes);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed. `alignment` is a power of two. Null when there is none left.
  std::byte* Allocate(size_t bytes, size_t alignment);
  // False: `memory` did not come from here.
  bool Free(std::byte* memory);

  size_t total_bytes() const { return total_bytes_; }
  size_t free_bytes() const { return free_bytes_; }

 private:
  const size_t total_bytes_;
  size_t free_bytes_;
  std::map<std::byte*, size_t> free_;  // By address; neighbours are joined.
  std::map<std::byte*, size_t> used_;
};

// A piece of an arena, given back at the end.
class Piece {
 public:
  Piece() = default;
  Piece(Arena& arena, size_t bytes, size_t alignment)
      : arena_(&arena), memory_(arena.Allocate(bytes, alignment)), bytes_(bytes) {}
  Piece(Piece&& other) noexcept { *this = std::move(other); }
  Piece& operator=(Piece&& other) noexcept {
    std::swap(arena_, other.arena_);
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Piece() {
    if (memory_ != nullptr) arena_->Free(memory_);
  }

  bool valid() const { return memory_ != nullptr; }
  std::byte* get() const { return memory_; }
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(memory_);
  }

 private:
  Arena* arena_ = nullptr;
  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace pollux::nvme
