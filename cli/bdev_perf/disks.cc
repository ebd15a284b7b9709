#include "cli/bdev_perf/disks.h"

#include "core/check.h"
#include "core/run_on.h"
#include "drivers/memory/memory_disk.h"
#include "drivers/null/null_disk.h"
#include "drivers/nvme_disk/nvme_disk.h"
#include "drivers/uring/file_disk.h"

namespace pollux::cli {
namespace {

constexpr uint32_t kBlockBytes = 4096;

}  // namespace

Disks::Disks(Loop& control, Reactors& reactors, RegionRegistry& regions)
    : control_(control),
      reactors_(reactors),
      regions_(regions),
      memory_(regions),
      accel_(reactors),
      registry_(reactors),
      rings_(reactors) {}

Disks::~Disks() { CHECK(registry_.devices().empty()); }

Task<Status> Disks::Make(DiskSpec spec, uint32_t block_bytes, bool read_only) {
  const uint32_t block = block_bytes == 0 ? kBlockBytes : block_bytes;
  switch (spec.kind) {
    case DiskSpec::Kind::kNull: {
      NullDiskOptions options;
      options.name = registry_.UnusedName("Null");
      options.block_size = block;
      options.num_blocks = spec.bytes / block;
      co_return co_await Register(MakeNullDisk(std::move(options)));
    }
    case DiskSpec::Kind::kMemory: {
      MemoryDiskOptions options;
      options.name = registry_.UnusedName("Malloc");
      options.block_size = block;
      options.num_blocks = spec.bytes / block;
      options.huge = true;
      co_return co_await Register(MakeMemoryDisk(std::move(options), regions_, accel_));
    }
    case DiskSpec::Kind::kFile:
      co_return co_await MakeFile(std::move(spec), block_bytes, read_only);
    case DiskSpec::Kind::kNvme:
      co_return co_await MakeNvme(std::move(spec));
  }
  co_return OkStatus();
}

Task<Status> Disks::Register(Result<std::unique_ptr<BlockDevice>> made) {
  CO_RETURN_IF_ERROR(made.status());
  ASSIGN_OR_CO_RETURN(BlockDevice * disk, co_await registry_.Register(*std::move(made)));
  all_.push_back(disk);
  own_.push_back(disk->name());
  co_return OkStatus();
}

Task<Status> Disks::MakeFile(DiskSpec spec, uint32_t block_bytes, bool read_only) {
  if (file_buffers_ == nullptr) {
    CO_RETURN_IF_ERROR(co_await rings_.Make());
    ASSIGN_OR_CO_RETURN(file_buffers_, MakeFileDiskBuffers(memory_, reactors_.size()));
  }
  FileDiskOptions options;
  options.kind = FileDiskOptions::Kind::kUring;
  options.name = registry_.UnusedName("File");
  options.filename = spec.place;
  options.block_size = block_bytes;
  options.readonly = read_only;
  co_return co_await Register(MakeFileDisk(std::move(options), *file_buffers_));
}

Task<Status> Disks::MakeNvme(DiskSpec spec) {
  NvmeAttachment attachment;
  if (pollux_nvme_transport_id_parse(spec.place.c_str(), &attachment.id) < 0) {
    co_return InvalidArgument("%s: %s", spec.place, pollux_nvme_error_text());
  }
  if (controllers_ == nullptr) {
    ASSIGN_OR_CO_RETURN(nvme_buffers_, MakeNvmeDiskBuffers(memory_, reactors_.size()));
    const NvmeEnvironment environment{.control = control_,
                                      .reactors = reactors_,
                                      .devices = registry_,
                                      .regions = regions_,
                                      .buffers = *nvme_buffers_};
    controllers_ = std::make_unique<NvmeControllers>(environment, nullptr);
  }
  attachment.name = "Nvme" + std::to_string(controllers_->subsystems().size());
  ASSIGN_OR_CO_RETURN(NvmePath * path, controllers_->Reserve(std::move(attachment)));
  Status status = co_await path->Connect();
  if (status.ok()) status = co_await path->subsystem().Publish(*path);
  if (!status.ok()) {
    (co_await controllers_->RemovePath(path)).IgnoreError();
    co_return status;
  }
  if (path->subsystem().disks().empty()) co_return NoDevice("%s has no namespace", spec.place);
  for (const auto& [nsid, disk] : path->subsystem().disks()) all_.push_back(disk);
  co_return OkStatus();
}

Task<void> Disks::Remove() {
  all_.clear();
  for (const std::string& name : own_) {
    const Status removed = co_await registry_.Unregister(name);
    CHECK(removed.ok());
  }
  own_.clear();
  if (controllers_ != nullptr) co_await controllers_->Stop();
  co_await rings_.Destroy();
}

}  // namespace pollux::cli
