#pragma once
#include <string>

#include "core/block/block_device.h"
#include "core/task.h"
#include "drivers/uring/file_disk.h"
#include "pollux/v1/bdev_aio.pb.h"
#include "pollux/v1/bdev_malloc.pb.h"
#include "pollux/v1/bdev_null.pb.h"
#include "pollux/v1/bdev_uring.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev_malloc.proto, bdev_null.proto, bdev_aio.proto, bdev_uring.proto: disks that
// are made and deleted by call. The saved call has what was generated: a name, and the identity of
// what keeps its data. Memory disks come back empty, and with a new identity unless one was given.
class DiskHandlers {
 public:
  explicit DiskHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::BdevMallocCreateResponse>> MallocCreate(v1::BdevMallocCreateRequest request);
  Task<Result<v1::BdevMallocDeleteResponse>> MallocDelete(v1::BdevMallocDeleteRequest request);
  Task<Result<v1::BdevNullCreateResponse>> NullCreate(v1::BdevNullCreateRequest request);
  Task<Result<v1::BdevNullDeleteResponse>> NullDelete(v1::BdevNullDeleteRequest request);
  Task<Result<v1::BdevNullResizeResponse>> NullResize(v1::BdevNullResizeRequest request);
  Task<Result<v1::BdevAioCreateResponse>> AioCreate(v1::BdevAioCreateRequest request);
  Task<Result<v1::BdevAioRescanResponse>> AioRescan(v1::BdevAioRescanRequest request);
  Task<Result<v1::BdevAioDeleteResponse>> AioDelete(v1::BdevAioDeleteRequest request);
  Task<Result<v1::BdevUringCreateResponse>> UringCreate(v1::BdevUringCreateRequest request);
  Task<Result<v1::BdevUringRescanResponse>> UringRescan(v1::BdevUringRescanRequest request);
  Task<Result<v1::BdevUringDeleteResponse>> UringDelete(v1::BdevUringDeleteRequest request);

  // "Malloc0", "Malloc1", ...: the first that no device has, not even a pending one.
  std::string UnusedName(const std::string& prefix) const;
  // Removes the device of this name and product, and its saved calls. ENODEV when there is none.
  Task<Status> Delete(std::string name, std::string product);
  void Save(const std::string& name, const char* method, const rpc::Message& request);

  Appliance& appliance_;
};

}  // namespace pollux::service
