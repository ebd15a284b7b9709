#include "drivers/uring/backing_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "core/uring/reactor_ring.h"

namespace pollux {
namespace {

Status OpenError(const std::string& path, int error_number) {
  return ErrorOfField(error_number, "filename", path, strerror(error_number));
}

// Opens with O_DIRECT if the file system takes it, and says which it was.
int OpenEitherWay(const std::string& path, int flags, bool& direct) {
  direct = true;
  int fd = open(path.c_str(), flags | O_DIRECT);
  if (fd < 0 && errno == EINVAL) {
    direct = false;
    fd = open(path.c_str(), flags);
  }
  return fd;
}

// What direct I/O on the file must be aligned to, by the kernel's word where it gives it.
void ReadAlignment(BackingFile& file) {
  struct statx info {};
  if (statx(file.fd.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
      (info.stx_mask & STATX_DIOALIGN) != 0) {
    if (info.stx_dio_offset_align == 0) {  // Not for this file.
      file.direct = false;
      return;
    }
    file.sector_bytes = std::max(file.sector_bytes, info.stx_dio_offset_align);
    file.memory_alignment = std::max(1u, info.stx_dio_mem_align);
    return;
  }
  file.memory_alignment = file.sector_bytes;
}

// What the kernel says of a block device's queue, or of its disk's, where it is a partition.
std::string QueueAttribute(dev_t device, const char* name) {
  for (const char* up : {"", "/.."}) {
    std::ifstream attribute(
        absl::StrFormat("/sys/dev/block/%u:%u%s/queue/%s", major(device), minor(device), up, name));
    std::string line;
    if (std::getline(attribute, line)) return line;
  }
  return {};
}

Status ReadBlockDevice(BackingFile& file) {
  int sector = 0;
  unsigned physical = 0;
  if (ioctl(file.fd.get(), BLKSSZGET, &sector) != 0 || sector <= 0) {
    return OpenError(file.path, errno);
  }
  file.sector_bytes = static_cast<uint32_t>(sector);
  file.physical_bytes = file.sector_bytes;
  if (ioctl(file.fd.get(), BLKPBSZGET, &physical) == 0) {
    file.physical_bytes = std::max(file.physical_bytes, physical);
  }
  return OkStatus();
}

bool TryFallocate(const BackingFile& file, int mode) {
  // Behind the end nothing is there to be lost.
  return fallocate(file.fd.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(file.bytes),
                   static_cast<off_t>(file.sector_bytes)) == 0;
}

void ProbeFile(BackingFile& file) {
  file.can_punch = TryFallocate(file, FALLOC_FL_PUNCH_HOLE);
  file.can_zero = TryFallocate(file, FALLOC_FL_ZERO_RANGE);
  if (file.can_zero) {
    // It may have set aside what we asked about.
    TryFallocate(file, FALLOC_FL_PUNCH_HOLE);
  }
}

// Holes of a block device are zeroes that the device makes, and may unmap for; where it makes none
// it may still discard. Zeroes otherwise are written by the kernel.
void ReadAbilities(BackingFile& file, dev_t device) {
  const auto is_zero = [device](const char* name) {
    const std::string value = QueueAttribute(device, name);
    return value.empty() || value == "0";
  };
  file.can_zero = true;
  file.can_punch = !is_zero("write_zeroes_max_bytes");
  file.can_discard =
      !file.can_punch && !is_zero("discard_max_bytes") && ReactorRing::CanDiscard(file.fd.get());
}

Result<UniqueFd> Reopen(const BackingFile& file, int flags) {
  const std::string self = absl::StrFormat("/proc/self/fd/%d", file.fd.get());
  UniqueFd fd(open(self.c_str(), flags | O_CLOEXEC));
  if (!fd.valid()) return OpenError(file.path, errno);
  return fd;
}

}  // namespace

Result<uint64_t> SizeOfFile(int fd) {
  struct stat info {};
  uint64_t bytes = 0;
  if (fstat(fd, &info) != 0) return ErrorOfErrno(errno, strerror(errno));
  if (!S_ISBLK(info.st_mode)) return static_cast<uint64_t>(info.st_size);
  if (ioctl(fd, BLKGETSIZE64, &bytes) != 0) return ErrorOfErrno(errno, strerror(errno));
  return bytes;
}

Result<BackingFile> OpenBackingFile(const std::string& path, bool readonly, uint32_t block_size) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return OpenError(path, errno);
  BackingFile file;
  file.path = path;
  file.is_block_device = S_ISBLK(info.st_mode);
  if (!file.is_block_device && !S_ISREG(info.st_mode)) {
    return ErrorOfField(EINVAL, "filename", path, "neither a regular file nor a block device");
  }

  // A block device that is mounted, or another disk's, is refused by O_EXCL.
  const int exclusive = file.is_block_device && !readonly ? O_EXCL : 0;
  const int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | exclusive;
  file.fd.Reset(OpenEitherWay(path, flags, file.direct));
  if (!file.fd.valid()) return OpenError(path, errno);
  if (flock(file.fd.get(), (readonly ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return ErrorOfField(EBUSY, "filename", path, "it is in use as a disk already");
  }

  if (file.is_block_device) {
    RETURN_IF_ERROR(ReadBlockDevice(file));
  } else {
    file.physical_bytes = static_cast<uint32_t>(info.st_blksize);
  }
  ASSIGN_OR_RETURN(file.bytes, SizeOfFile(file.fd.get()));
  if (file.direct) ReadAlignment(file);
  if (file.direct &&
      (file.memory_alignment > 4096 || (block_size != 0 && block_size < file.sector_bytes))) {
    file.direct = false;
  }
  if (!file.direct) {
    fcntl(file.fd.get(), F_SETFL, fcntl(file.fd.get(), F_GETFL) & ~O_DIRECT);
    file.memory_alignment = 1;
    if (!file.is_block_device) file.sector_bytes = 512;
  }
  // What direct I/O writes to a regular file needs metadata of the file system besides.
  const std::string cache = file.is_block_device ? QueueAttribute(info.st_rdev, "write_cache") : "";
  file.volatile_cache = !file.direct || cache != "write through";
  file.polled =
      file.is_block_device && file.direct && QueueAttribute(info.st_rdev, "io_poll") == "1";
  if (!readonly && file.is_block_device) ReadAbilities(file, info.st_rdev);
  if (!readonly && !file.is_block_device) ProbeFile(file);
  return file;
}

Result<UniqueFd> ReopenForIo(const BackingFile& file, bool readonly) {
  return Reopen(file, (readonly ? O_RDONLY : O_RDWR) | (file.direct ? O_DIRECT : 0));
}

Result<UniqueFd> ReopenForFlush(const BackingFile& file) { return Reopen(file, O_RDONLY); }

}  // namespace pollux
