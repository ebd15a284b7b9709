#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/block/device_registry.h"
#include "drivers/stacked/stacked_disk.h"

namespace pollux {

inline constexpr char kErrorProduct[] = "Error Injection Disk";

// "EE_" and the name of the base: the name of the error disk on it.
std::string ErrorDiskName(const std::string& base_name);

// Fails on purpose, as InjectErrors() says, and otherwise does what its base does. `uuid` is the
// parameter of bdev_error_create; empty: one that follows from the base's.
Result<std::unique_ptr<StackedDisk>> MakeErrorDisk(const std::string& uuid, BlockDevice& base);

// The parameters of bdev_error_inject_error.
struct ErrorInjection {
  enum class Io { kRead, kWrite, kUnmap, kFlush, kAll, kClear };
  enum class Kind {
    kFailure,      // Ends with kInternalError, without the base.
    kPending,      // Does not end: until ResumePending(), an abort, a reset, or the disk goes.
    kCorruptData,  // One byte of it is another: what is written, or what is read.
    kNomem,        // Ends with kNoResources, without the base.
    kNvmeFailure,  // Ends with kNvmeFailure and this status, without the base.
  };
  Io io = Io::kAll;  // kClear: no more errors, of whatever kind.
  Kind kind = Kind::kFailure;
  uint32_t nvme_sct = 0, nvme_sc = 0;  // With kNvmeFailure alone, and then not both 0.
  uint32_t num = 1;                    // How many I/Os of each type, on all reactors together.
  uint64_t queue_depth = 0;            // Only while that many are with the base, on one reactor.
  uint64_t corrupt_offset = 0;         // In bytes of the I/O's data. A shorter I/O is let through.
  uint32_t corrupt_value = 0;          // XORed to that byte: 1 to 255.
};

// For what is submitted from here on; it takes the place of what was injected into the same types
// before. ENODEV when there is no error disk of that name; EINVAL names the parameter at fault.
Task<Status> InjectErrors(DeviceRegistry& devices, std::string name, ErrorInjection injection);
// What is pending goes on to the base, and nothing more becomes pending. ENODEV as above.
Task<Status> ResumePending(DeviceRegistry& devices, std::string name);

}  // namespace pollux
