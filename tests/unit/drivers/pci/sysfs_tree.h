#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "drivers/pci/host_files.h"

namespace pollux::pci {

// A folder that goes away with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = testing::TempDir() + "/pollux_pci_XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) abort();
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A made-up /sys, /proc and /dev, with a kernel that binds drivers as Linux does.
class SysfsTree final : public HostFiles {
 public:
  SysfsTree() : SysfsTree(std::make_unique<TemporaryFolder>()) {}

  void MakeFile(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(Path(path)).parent_path());
    std::ofstream(Path(path)) << text;
  }
  void MakeFolder(const std::string& path) const {
    std::filesystem::create_directories(Path(path));
  }
  // A relative link, as sysfs has them.
  void MakeLink(const std::string& path, const std::string& target) const {
    namespace fs = std::filesystem;
    const fs::path folder = fs::path(path).parent_path();
    fs::create_directories(Path(folder.string()));
    fs::create_symlink(fs::path(target).lexically_relative(folder), Path(path));
  }
  // Exactly that text, as /proc has them.
  void MakeLooseLink(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(Path(path)).parent_path());
    std::filesystem::create_symlink(text, Path(path));
  }

  void AddDriver(const std::string& name) { MakeFolder("/sys/bus/pci/drivers/" + name); }

  // Behind a bridge. Returns its folder.
  std::string AddFunction(const std::string& address, const std::string& class_code) {
    const std::string folder = "/sys/devices/pci0000:00/0000:00:02.0/" + address;
    for (const auto& [name, text] : std::vector<std::pair<std::string, std::string>>{
             {"vendor", "0x1b36\n"},
             {"device", "0x0010\n"},
             {"subsystem_vendor", "0x1af4\n"},
             {"subsystem_device", "0x1100\n"},
             {"class", class_code + "\n"},
             {"revision", "0x02\n"},
             {"numa_node", "-1\n"},
             {"driver_override", "(null)\n"},
             {"reset", ""},
             {"config", std::string("\x36\x1b\x10\x00", 4)}}) {
      MakeFile(folder + "/" + name, text);
    }
    MakeLink("/sys/bus/pci/devices/" + address, folder);
    return folder;
  }
  void SetDriver(const std::string& address, const std::string& driver) const {
    const std::string link = "/sys/bus/pci/devices/" + address + "/driver";
    std::filesystem::remove(Path(link));
    if (!driver.empty()) {
      MakeLink(Resolve("/sys/bus/pci/devices/" + address) + "/driver",
               "/sys/bus/pci/drivers/" + driver);
    }
  }
  void SetGroup(const std::string& address, const std::string& group) {
    const std::string folder = "/sys/kernel/iommu_groups/" + group;
    MakeLink(Resolve("/sys/bus/pci/devices/" + address) + "/iommu_group", folder);
    MakeLink(folder + "/devices/" + address, Resolve("/sys/bus/pci/devices/" + address));
  }
  // A disk below `folder`, with its partitions. Numbers go up from 259:0.
  void AddDisk(const std::string& folder, const std::string& name,
               const std::vector<std::string>& partitions = {}) {
    AddBlock(folder + "/" + name, name);
    for (const std::string& partition : partitions) {
      AddBlock(folder + "/" + name + "/" + partition, partition);
      MakeFile(folder + "/" + name + "/" + partition + "/partition", "1\n");
    }
  }
  void AddHolder(const std::string& below, const std::string& name, const std::string& title = "") {
    const std::string folder = "/sys/devices/virtual/block/" + name;
    AddBlock(folder, name);
    if (!title.empty()) MakeFile(folder + "/dm/name", title + "\n");
    MakeLink(Resolve("/sys/class/block/" + below) + "/holders/" + name, folder);
  }
  // "259:3", by which mountinfo knows it.
  std::string NumberOf(const std::string& block) const {
    return Read("/sys/class/block/" + block + "/dev").value_or("");
  }
  void AddNode(const std::string& folder, const std::string& name, const std::string& number) {
    MakeFile(folder + "/uevent", "MAJOR=1\nDEVNAME=" + name + "\n");
    MakeLink("/sys/dev/char/" + number, folder);
    MakeFile("/dev/" + name, "");
  }
  // 0000:01:00.0, driven by nvme, with one namespace of two partitions.
  void AddNvme() {
    AddDriver("nvme");
    AddDriver("vfio-pci");
    const std::string folder = AddFunction("0000:01:00.0", "0x010802");
    SetDriver("0000:01:00.0", "nvme");
    SetGroup("0000:01:00.0", "7");
    AddNode(folder + "/nvme/nvme0", "nvme0", "240:0");
    AddDisk(folder + "/nvme/nvme0", "nvme0n1", {"nvme0n1p1", "nvme0n1p2"});
  }

  // The kernel's part.
  Status Write(std::string_view path, std::string_view text) const override {
    written.push_back(std::string(path.substr(path.rfind('/') + 1)) + "=" +
                      (text == "\n" ? "" : std::string(text)));
    if (written.back() == refuses) return PermissionDenied("cannot write %s", path);
    if (path == "/sys/bus/pci/drivers_probe") {
      Probe(std::string(text));
    } else if (path.substr(path.size() - 7) == "/unbind") {
      SetDriver(std::string(text), "");
    } else if (path.substr(path.size() - 5) == "/bind") {
      SetDriver(std::string(text), std::filesystem::path(path).parent_path().filename());
    } else {
      MakeFile(std::string(path), text == "\n" ? "(null)\n" : std::string(text) + "\n");
    }
    return OkStatus();
  }

  std::string refuses;                       // A write, as in `written`.
  std::set<std::string> driver_fails;        // Drivers whose probe fails.
  mutable std::vector<std::string> written;  // "driver_override=vfio-pci"

 private:
  explicit SysfsTree(std::unique_ptr<TemporaryFolder> folder)
      : HostFiles(folder->path()), folder_(std::move(folder)) {}

  void AddBlock(const std::string& folder, const std::string& name) {
    const std::string number = "259:" + std::to_string(blocks_++);
    MakeFile(folder + "/dev", number + "\n");
    MakeFile(folder + "/uevent", "DEVNAME=" + name + "\n");
    MakeLink("/sys/class/block/" + name, folder);
    MakeLink("/sys/dev/block/" + number, folder);
    MakeFile("/dev/" + name, "");
  }
  void Probe(const std::string& address) const {
    const std::string folder = "/sys/bus/pci/devices/" + address;
    if (Exists(folder + "/driver")) return;
    std::string driver = Read(folder + "/driver_override").value_or("(null)");
    if (driver == "(null)") driver = "nvme";
    if (driver_fails.count(driver) == 0) SetDriver(address, driver);
  }

  std::unique_ptr<TemporaryFolder> folder_;
  int blocks_ = 0;
};

}  // namespace pollux::pci
