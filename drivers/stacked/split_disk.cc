#include "drivers/stacked/split_disk.h"

#include <algorithm>
#include <utility>

#include "core/json_string.h"
#include "core/log.h"
#include "drivers/stacked/window_channel.h"

namespace pollux {
namespace {

constexpr uint64_t kMib = 1 << 20;

class SplitDisk final : public StackedDisk {
 public:
  SplitDisk(const std::string& name, const Geometry& geometry, Uuid uuid, BlockDevice& base,
            uint64_t offset)
      : StackedDisk(name, kSplitProduct, geometry, uuid, {&base}), offset_(offset) {
    // The base's would end what is in flight of the other parts.
    DoesNotExecute(IoType::kReset);
  }

  std::string DriverSpecificJson() const override {
    return absl::StrFormat(R"({"split":{"base_bdev":%s,"offset_blocks":%u}})",
                           JsonStringOfLatin1(base().name()), offset_);
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<WindowChannel>(*this, reactor, *base().channel(reactor.index()),
                                           offset_);
  }

  const uint64_t offset_;  // In blocks of the base.
};

}  // namespace

Status CheckSplit(const SplitOptions& options) {
  if (options.split_count == 0 || options.split_count > kSplitCountMax) {
    return InvalidField("split_count", options.split_count, "must be from 1 to %u", kSplitCountMax);
  }
  return OkStatus();
}

Result<std::vector<std::unique_ptr<StackedDisk>>> MakeSplitDisks(const SplitOptions& options,
                                                                 BlockDevice& base) {
  RETURN_IF_ERROR(CheckSplit(options));
  Geometry geometry = base.geometry();
  const uint64_t base_blocks = geometry.blocks;
  geometry.blocks = base_blocks / options.split_count;
  if (options.split_size_mb > 0) {
    const uint64_t base_mib = base_blocks * geometry.block_bytes / kMib;
    if (options.split_size_mb > base_mib) {
      return InvalidField("split_size_mb", options.split_size_mb, "'%s' has %u MiB", base.name(),
                          base_mib);
    }
    geometry.blocks = options.split_size_mb * kMib / geometry.block_bytes;
  }
  if (geometry.blocks == 0) {
    return InvalidField("split_count", options.split_count, "'%s' has only %u blocks", base.name(),
                        base_blocks);
  }
  // The parts begin where I/O need not be cut only if all do.
  if (geometry.optimal_boundary_blocks > 0 &&
      geometry.blocks % geometry.optimal_boundary_blocks != 0) {
    geometry.optimal_boundary_blocks = 0;
  }
  const uint64_t count = std::min<uint64_t>(options.split_count, base_blocks / geometry.blocks);
  if (count < options.split_count) {
    LogWarning("block", "bdev_split_create: '%s' has room for %u parts of %u MiB, not for %u",
               base.name(), count, options.split_size_mb, options.split_count);
  }
  if (count > 1) RETURN_IF_ERROR(CheckRenumbering("base_bdev", base));
  std::vector<std::unique_ptr<StackedDisk>> disks;
  for (uint64_t i = 0; i < count; ++i) {
    disks.push_back(std::make_unique<SplitDisk>(absl::StrFormat("%sp%u", base.name(), i), geometry,
                                                UuidOver(base, absl::StrFormat("split%u", i)), base,
                                                i * geometry.blocks));
  }
  return disks;
}

}  // namespace pollux
