#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/block/block_device.h"
#include "core/block/device_registry.h"
#include "core/memory/memory.h"
#include "core/memory/reactor_buffers.h"
#include "core/status.h"

namespace pollux {

// The parameters of bdev_aio_create and bdev_uring_create, under their names there.
struct FileDiskOptions {
  // Under which name clients know it. The two are one implementation.
  enum class Kind { kAio, kUring };
  Kind kind = Kind::kAio;
  std::string name;
  std::string filename;
  uint32_t block_size = 0;  // 0: the device's, or what the file system wants for direct I/O.
  bool readonly = false;
  bool fallocate = false;  // Unmap and write zeroes by fallocate(). A "URING bdev" always does.
  bool nowait = false;     // Kept and shown; io_uring never blocks the reactor anyway.
  std::string uuid;        // Empty: a new one.
};

inline constexpr char kAioDiskProduct[] = "AIO disk";
inline constexpr char kUringDiskProduct[] = "URING bdev";

// What file disks need on every reactor: aligned buffers, for data that direct I/O cannot take
// where it lies. All file disks share them.
MemoryNeed FileDiskBuffersNeed(size_t reactors);
Result<std::unique_ptr<ReactorBuffers>> MakeFileDiskBuffers(Memory& memory, size_t reactors);

// A regular file or a kernel block device, by io_uring (ReactorRing::Of every reactor), with
// O_DIRECT where the file takes it. ENOENT, EACCES and the like as open() says; EINVAL names the
// parameter. `buffers` outlives the disk.
Result<std::unique_ptr<BlockDevice>> MakeFileDisk(FileDiskOptions options, ReactorBuffers& buffers);

// bdev_aio_rescan, bdev_uring_rescan: looks at the size of the file again. ENODEV when there is no
// file disk of that kind and name.
Task<Status> RescanFileDisk(DeviceRegistry& devices, FileDiskOptions::Kind kind, std::string name);

}  // namespace pollux
