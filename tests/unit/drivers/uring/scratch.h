#pragma once
#include <fcntl.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/unique_fd.h"

namespace pollux::testing_world {

// A folder that goes away with all it holds.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& below) {
    std::string pattern = below + "/pollux_test_XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~ScratchFolder() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  ScratchFolder(const ScratchFolder&) = delete;

  // Makes it a file system of its own, as small as that. Needs privileges.
  bool MountSmall(const std::string& size) {
    mounted_ = mount("pollux", path_.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    return mounted_;
  }
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  // A file of that size, all hole.
  std::string MakeFile(const std::string& name, uint64_t bytes) const {
    const UniqueFd fd(open(path(name).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) abort();
    return path(name);
  }

 private:
  std::string path_;
  bool mounted_ = false;
};

// A kernel block device over a file. Needs privileges, and a kernel that has them.
class LoopDevice {
 public:
  LoopDevice(const std::string& file, uint32_t block_bytes) {
    const UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const UniqueFd backing(open(file.c_str(), O_RDWR | O_CLOEXEC));
    if (!control.valid() || !backing.valid()) return;
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return;
    // Nobody else makes the node where there is no udev.
    std::string path = "/dev/loop" + std::to_string(number);
    if (access(path.c_str(), F_OK) != 0 &&
        mknod(path.c_str(), S_IFBLK | 0600, makedev(7, static_cast<unsigned>(number))) != 0) {
      return;
    }
    UniqueFd device(open(path.c_str(), O_RDWR | O_CLOEXEC));
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing.get());
    config.block_size = block_bytes;
    if (!device.valid() || ioctl(device.get(), LOOP_CONFIGURE, &config) != 0) return;
    device_ = std::move(device);
    path_ = path;
  }
  ~LoopDevice() {
    if (device_.valid()) ioctl(device_.get(), LOOP_CLR_FD);
  }

  bool ok() const { return device_.valid(); }
  const std::string& path() const { return path_; }
  int fd() const { return device_.get(); }  // Buffered.
  bool SetQueue(const std::string& attribute, const std::string& value) const {
    std::ofstream file("/sys/block/" + path_.substr(5) + "/queue/" + attribute);
    return static_cast<bool>(file << value << std::flush);
  }

 private:
  UniqueFd device_;
  std::string path_;
};

}  // namespace pollux::testing_world
