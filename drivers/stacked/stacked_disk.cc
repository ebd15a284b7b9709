#include "drivers/stacked/stacked_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace pollux {
namespace {

// What holds over several bases: the stricter, or the coarser, of both.
Limits Merge(const Limits& a, const Limits& b) {
  Limits merged;
  const auto shorter = [](uint64_t x, uint64_t y) {
    return x == 0 || y == 0 ? std::max(x, y) : std::min(x, y);
  };
  merged.compare_and_write_blocks_max =
      shorter(a.compare_and_write_blocks_max, b.compare_and_write_blocks_max);
  const auto coarser = [&](auto Limits::*limit) { merged.*limit = std::max(a.*limit, b.*limit); };
  coarser(&Limits::buffer_alignment);
  coarser(&Limits::preferred_write_alignment_blocks);
  coarser(&Limits::preferred_write_granularity_blocks);
  coarser(&Limits::optimal_write_blocks);
  coarser(&Limits::preferred_unmap_alignment_blocks);
  coarser(&Limits::preferred_unmap_granularity_blocks);
  merged.unmapped_reads_zero = a.unmapped_reads_zero && b.unmapped_reads_zero;
  return merged;
}

// A finalizer with good avalanche, so that neighbours do not look alike.
uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

}  // namespace

StackedDisk::StackedDisk(std::string name, std::string product_name, const Geometry& geometry,
                         Uuid uuid, std::vector<BlockDevice*> bases)
    : BlockDevice(std::move(name), std::move(product_name), geometry, uuid),
      bases_(std::move(bases)) {
  CHECK(!bases_.empty());
  // Sizes of one I/O are left to the bases, which split at them.
  limits_ = Merge(base().limits(), base().limits());
  numa_node_ = base().numa_node();
  for (const BlockDevice* each : bases_) {
    limits_ = Merge(limits_, each->limits());
    read_only_ |= each->read_only();
    volatile_cache_ |= each->volatile_cache();
    if (each->numa_node() != numa_node_) numa_node_ = -1;
  }
  for (int i = 0; i < kIoTypeCount; ++i) {
    const auto type = static_cast<IoType>(i);
    if (type == IoType::kAbort) continue;  // The block layer asks TryAbort().
    if (std::all_of(bases_.begin(), bases_.end(),
                    [type](const BlockDevice* each) { return each->Supports(type); })) {
      executes_.set(static_cast<size_t>(type));
    }
  }
}

Status StackedDisk::CheckResize(uint64_t blocks) const {
  if (blocks == BlocksOverBases()) return OkStatus();
  return BlockDevice::CheckResize(blocks);
}

Uuid UuidOver(const BlockDevice& base, std::string_view what) {
  uint64_t halves[2];
  static_assert(sizeof(halves) == sizeof(Uuid::bytes));
  std::memcpy(halves, base.uuid().bytes.data(), sizeof(halves));
  for (const char c : what) {
    halves[0] = Mix(halves[0] + halves[1] + static_cast<unsigned char>(c));
    halves[1] = Mix(halves[1] ^ halves[0]);
  }
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), halves, sizeof(halves));
  // Version 8, made in a way of one's own; the variant of RFC 4122. RFC 9562 §5.8.
  uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x80);
  uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

Result<Uuid> UuidGivenOrOver(const std::string& text, const BlockDevice& base,
                             std::string_view what) {
  if (text.empty()) return UuidOver(base, what);
  return Uuid::ParseOrRandom("uuid", text);
}

Status CheckRenumbering(std::string_view field, const BlockDevice& base) {
  const int type = base.geometry().protection_type;
  if (type != 1 && type != 2) return OkStatus();
  return InvalidField(field, base.name(),
                      "its blocks carry their own number (protection information of type %d), "
                      "which would no longer be theirs",
                      type);
}

}  // namespace pollux
