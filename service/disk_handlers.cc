#include "service/disk_handlers.h"

#include "drivers/memory/memory_disk.h"
#include "drivers/null/null_disk.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

template <typename T>
std::optional<T> When(bool present, T value) {
  return present ? std::optional<T>(value) : std::nullopt;
}

}  // namespace

void DiskHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_malloc_create", this, &DiskHandlers::MallocCreate);
  dispatcher.Bind("bdev_malloc_delete", this, &DiskHandlers::MallocDelete);
  dispatcher.Bind("bdev_null_create", this, &DiskHandlers::NullCreate);
  dispatcher.Bind("bdev_null_delete", this, &DiskHandlers::NullDelete);
  dispatcher.Bind("bdev_null_resize", this, &DiskHandlers::NullResize);
  dispatcher.Bind("bdev_aio_create", this, &DiskHandlers::AioCreate);
  dispatcher.Bind("bdev_aio_rescan", this, &DiskHandlers::AioRescan);
  dispatcher.Bind("bdev_aio_delete", this, &DiskHandlers::AioDelete);
  dispatcher.Bind("bdev_uring_create", this, &DiskHandlers::UringCreate);
  dispatcher.Bind("bdev_uring_rescan", this, &DiskHandlers::UringRescan);
  dispatcher.Bind("bdev_uring_delete", this, &DiskHandlers::UringDelete);
}

std::string DiskHandlers::UnusedName(const std::string& prefix) const {
  for (int i = 0;; ++i) {
    std::string name = prefix + std::to_string(i);
    if (!appliance_.devices().Find(name).ok() &&
        !appliance_.configuration().IsPending({"bdev", name})) {
      return name;
    }
  }
}

void DiskHandlers::Save(const std::string& name, const char* method, const rpc::Message& request) {
  appliance_.configuration().Put({"bdev", name}, {{method, rpc::EncodeMessage(request)}});
}

Task<Status> DiskHandlers::Delete(std::string name, std::string product) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(name));
  if (device->product_name() != product) {
    co_return ErrorOfField(ENODEV, "name", name,
                           absl::StrFormat("is no %s but a %s", product, device->product_name()));
  }
  const std::string own_name = device->name();
  CO_RETURN_IF_ERROR(co_await appliance_.devices().Unregister(own_name));
  appliance_.configuration().Erase({"bdev", own_name});
  co_return OkStatus();
}

Task<Result<v1::BdevMallocCreateResponse>> DiskHandlers::MallocCreate(
    v1::BdevMallocCreateRequest request) {
  if (request.name().empty()) request.set_name(UnusedName("Malloc"));
  MemoryDiskOptions options;
  options.name = request.name();
  options.block_size = request.block_size();
  options.num_blocks = request.num_blocks();
  options.uuid = request.uuid();
  options.optimal_io_boundary = request.optimal_io_boundary();
  options.md_size = request.md_size();
  options.md_interleave = request.md_interleave();
  options.dif_type = request.dif_type();
  options.dif_is_head_of_md = request.dif_is_head_of_md();
  options.physical_block_size =
      When(request.has_physical_block_size(), request.physical_block_size());
  options.dif_pi_format = When(request.has_dif_pi_format(), request.dif_pi_format());
  options.numa_id = request.numa_id();
  options.huge = appliance_.memory().usage().hugepages;
  ASSIGN_OR_CO_RETURN(std::unique_ptr<BlockDevice> device,
                      MakeMemoryDisk(std::move(options), appliance_.regions(), appliance_.accel()));
  CO_RETURN_IF_ERROR((co_await appliance_.devices().Register(std::move(device))).status());
  Save(request.name(), "bdev_malloc_create", request);
  co_return Named<v1::BdevMallocCreateResponse>(request.name());
}

Task<Result<v1::BdevMallocDeleteResponse>> DiskHandlers::MallocDelete(
    v1::BdevMallocDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kMemoryDiskProduct));
  co_return Done<v1::BdevMallocDeleteResponse>();
}

Task<Result<v1::BdevNullCreateResponse>> DiskHandlers::NullCreate(
    v1::BdevNullCreateRequest request) {
  NullDiskOptions options;
  options.name = request.name();
  options.block_size = request.block_size();
  options.num_blocks = request.num_blocks();
  options.uuid = request.uuid();
  options.physical_block_size =
      When(request.has_physical_block_size(), request.physical_block_size());
  options.md_size = request.md_size();
  options.dif_type = request.dif_type();
  options.dif_pi_format = When(request.has_dif_pi_format(), request.dif_pi_format());
  options.dif_is_head_of_md = request.dif_is_head_of_md();
  options.preferred_write_granularity =
      When(request.has_preferred_write_granularity(), request.preferred_write_granularity());
  options.preferred_write_alignment =
      When(request.has_preferred_write_alignment(), request.preferred_write_alignment());
  options.optimal_write_size = When(request.has_optimal_write_size(), request.optimal_write_size());
  options.preferred_unmap_granularity =
      When(request.has_preferred_unmap_granularity(), request.preferred_unmap_granularity());
  options.preferred_unmap_alignment =
      When(request.has_preferred_unmap_alignment(), request.preferred_unmap_alignment());
  ASSIGN_OR_CO_RETURN(std::unique_ptr<BlockDevice> device, MakeNullDisk(std::move(options)));
  request.set_uuid(device->uuid().ToString());
  CO_RETURN_IF_ERROR((co_await appliance_.devices().Register(std::move(device))).status());
  Save(request.name(), "bdev_null_create", request);
  co_return Named<v1::BdevNullCreateResponse>(request.name());
}

Task<Result<v1::BdevNullDeleteResponse>> DiskHandlers::NullDelete(
    v1::BdevNullDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kNullDiskProduct));
  co_return Done<v1::BdevNullDeleteResponse>();
}

Task<Result<v1::BdevNullResizeResponse>> DiskHandlers::NullResize(
    v1::BdevNullResizeRequest request) {
  CO_RETURN_IF_ERROR(
      co_await ResizeNullDisk(appliance_.devices(), request.name(), request.new_size()));
  // What rebuilds it now is the call that made it, with the new size.
  ASSIGN_OR_CO_RETURN(BlockDevice * device, appliance_.devices().Find(request.name()));
  const std::vector<rpc::SavedCall> calls =
      appliance_.configuration().CallsOf({"bdev", device->name()});
  if (!calls.empty()) {
    v1::BdevNullCreateRequest create;
    CO_RETURN_IF_ERROR(rpc::DecodeParams(calls.front().params, /*relaxed=*/true, create));
    create.set_num_blocks(device->geometry().blocks);
    Save(device->name(), "bdev_null_create", create);
  }
  co_return Done<v1::BdevNullResizeResponse>();
}

Task<Result<v1::BdevAioCreateResponse>> DiskHandlers::AioCreate(v1::BdevAioCreateRequest request) {
  FileDiskOptions options;
  options.kind = FileDiskOptions::Kind::kAio;
  options.name = request.name();
  options.filename = request.filename();
  options.block_size = request.block_size();
  options.readonly = request.readonly();
  options.fallocate = request.fallocate();
  options.nowait = request.nowait();
  options.uuid = request.uuid();
  ASSIGN_OR_CO_RETURN(std::unique_ptr<BlockDevice> device,
                      MakeFileDisk(std::move(options), appliance_.file_disk_buffers()));
  request.set_uuid(device->uuid().ToString());
  CO_RETURN_IF_ERROR((co_await appliance_.devices().Register(std::move(device))).status());
  Save(request.name(), "bdev_aio_create", request);
  co_return Named<v1::BdevAioCreateResponse>(request.name());
}

Task<Result<v1::BdevAioRescanResponse>> DiskHandlers::AioRescan(v1::BdevAioRescanRequest request) {
  CO_RETURN_IF_ERROR(
      co_await RescanFileDisk(appliance_.devices(), FileDiskOptions::Kind::kAio, request.name()));
  co_return Done<v1::BdevAioRescanResponse>();
}

Task<Result<v1::BdevAioDeleteResponse>> DiskHandlers::AioDelete(v1::BdevAioDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kAioDiskProduct));
  co_return Done<v1::BdevAioDeleteResponse>();
}

Task<Result<v1::BdevUringCreateResponse>> DiskHandlers::UringCreate(
    v1::BdevUringCreateRequest request) {
  FileDiskOptions options;
  options.kind = FileDiskOptions::Kind::kUring;
  options.name = request.name();
  options.filename = request.filename();
  options.block_size = request.block_size();
  options.uuid = request.uuid();
  ASSIGN_OR_CO_RETURN(std::unique_ptr<BlockDevice> device,
                      MakeFileDisk(std::move(options), appliance_.file_disk_buffers()));
  request.set_uuid(device->uuid().ToString());
  CO_RETURN_IF_ERROR((co_await appliance_.devices().Register(std::move(device))).status());
  Save(request.name(), "bdev_uring_create", request);
  co_return Named<v1::BdevUringCreateResponse>(request.name());
}

Task<Result<v1::BdevUringRescanResponse>> DiskHandlers::UringRescan(
    v1::BdevUringRescanRequest request) {
  CO_RETURN_IF_ERROR(
      co_await RescanFileDisk(appliance_.devices(), FileDiskOptions::Kind::kUring, request.name()));
  co_return Done<v1::BdevUringRescanResponse>();
}

Task<Result<v1::BdevUringDeleteResponse>> DiskHandlers::UringDelete(
    v1::BdevUringDeleteRequest request) {
  CO_RETURN_IF_ERROR(co_await Delete(request.name(), kUringDiskProduct));
  co_return Done<v1::BdevUringDeleteResponse>();
}

}  // namespace pollux::service
