#include "drivers/pci/device_use.h"

#include <fcntl.h>

#include <algorithm>
#include <set>

#include "core/log.h"

namespace pollux::pci {
namespace {

constexpr uint64_t kInterfaceUp = 1;  // IFF_UP of <linux/if.h>.
constexpr size_t kReasonsMax = 8;     // In one message.

constexpr const char* kBlock = "/sys/class/block/";

std::string Block(const std::string& name) { return kBlock + name; }

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

// Linux hides the paths of a multipath namespace: nvme0c1n2 is controller 1's path to nvme0n2.
std::string HeadOf(const std::string& disk) {
  const size_t controller = disk.find('c');
  const size_t name_space = disk.find('n', controller);
  if (disk.compare(0, 4, "nvme") != 0 || controller == std::string::npos ||
      name_space == std::string::npos) {
    return disk;
  }
  return disk.substr(0, controller) + disk.substr(name_space);
}

// The value of a key in a uevent file.
std::string UeventValue(std::string_view text, std::string_view key) {
  for (const std::string_view line : Split(text, '\n')) {
    if (line.substr(0, key.size()) == key && line.substr(key.size(), 1) == "=") {
      return std::string(line.substr(key.size() + 1));
    }
  }
  return "";
}

// A block device that data of the function can be reached through.
struct Layer {
  std::string name;    // "nvme0n1p2", "dm-0"
  std::string number;  // "259:3"
  std::string label;   // "/dev/nvme0n1p2", "/dev/dm-0 (vg-root) on /dev/nvme0n1p2"
};

// The disk, its partitions, and what is built upon them.
class Layers {
 public:
  Layers(const HostFiles& files, const std::string& disk) : files_(files) {
    Add(disk, "/dev/" + disk);
    for (const std::string& entry : files_.List(Block(disk))) {
      if (files_.Exists(Block(disk) + "/" + entry + "/partition")) Add(entry, "/dev/" + entry);
    }
  }
  const std::vector<Layer>& all() const { return layers_; }
  const std::vector<std::string>& holders() const { return holders_; }

 private:
  void Add(const std::string& name, const std::string& label) {
    if (!seen_.insert(name).second) return;
    layers_.push_back({name, files_.Read(Block(name) + "/dev").value_or(""), label});
    for (const std::string& holder : files_.List(Block(name) + "/holders")) {
      const std::string title = files_.Read(Block(holder) + "/dm/name").value_or("");
      std::string shown = "/dev/" + holder;
      if (!title.empty()) shown += " (" + title + ")";
      holders_.push_back(label + " is part of " + shown);
      Add(holder, shown + " on " + label);
    }
  }

  const HostFiles& files_;
  std::set<std::string> seen_;
  std::vector<Layer> layers_;
  std::vector<std::string> holders_;
};

// One line of /proc/self/mountinfo.
struct Mount {
  std::string number, point, source;
};

std::vector<Mount> ReadMounts(const HostFiles& files) {
  std::vector<Mount> mounts;
  const std::string text = files.Read("/proc/self/mountinfo").value_or("");
  for (const std::string_view line : Split(text, '\n')) {
    const std::vector<std::string_view> words = Split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 5 || words.end() - dash < 3) continue;
    mounts.push_back({std::string(words[2]), UnescapeMount(words[4]), UnescapeMount(dash[2])});
  }
  return mounts;
}

// A file system with a number of its own (btrfs) is known by the name of its device.
bool IsMountOf(const Mount& mount, const Layer& layer) {
  return mount.number == layer.number || mount.source == "/dev/" + layer.name;
}

// The processes that have one of the nodes open: "/dev/nvme0 is open in process 17 (smartd)".
void FindOpeners(const HostFiles& files, const std::set<std::string>& nodes,
                 std::vector<std::string>& reasons) {
  for (const std::string& process : files.List("/proc")) {
    if (process.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string folder = "/proc/" + process;
    for (const std::string& fd : files.List(folder + "/fd")) {
      const std::string path = files.ReadLink(folder + "/fd/" + fd);
      if (nodes.count(path) == 0) continue;
      reasons.push_back(absl::StrFormat("%s is open in process %s (%s)", path, process,
                                        Printable(files.Read(folder + "/comm").value_or("?"))));
      break;
    }
  }
}

void FindDiskUse(const HostFiles& files, const Layers& layers, std::vector<std::string>& reasons) {
  const std::vector<Mount> mounts = ReadMounts(files);
  const std::string swaps = files.Read("/proc/swaps").value_or("");
  const size_t before = reasons.size();
  for (const Layer& layer : layers.all()) {
    for (const Mount& mount : mounts) {
      if (IsMountOf(mount, layer)) {
        reasons.push_back(layer.label + " is mounted at " + Printable(mount.point));
      }
    }
    for (const std::string_view line : Split(swaps, '\n')) {
      const std::vector<std::string_view> words = Split(line, ' ');
      if (UnescapeMount(words.empty() ? "" : words[0]) == "/dev/" + layer.name) {
        reasons.push_back(layer.label + " is used as swap");
      }
    }
  }
  // Who holds it is worth telling where it is not told by what it is held for.
  if (reasons.size() == before) {
    reasons.insert(reasons.end(), layers.holders().begin(), layers.holders().end());
  }
}

}  // namespace

KernelDevices::KernelDevices(const HostFiles& files) {
  for (const std::string& name : files.List(kBlock)) {
    if (files.Exists(Block(name) + "/partition")) continue;
    disks_.push_back({files.Resolve(Block(name)), HeadOf(name)});
  }
  for (const std::string& name : files.List("/sys/class/net")) {
    networks_.push_back({files.Resolve("/sys/class/net/" + name), name});
  }
  for (const std::string kind : {"/sys/dev/char/", "/sys/dev/block/"}) {
    for (const std::string& number : files.List(kind)) {
      const std::string uevent = files.Read(kind + number + "/uevent").value_or("");
      const std::string name = UeventValue(uevent, "DEVNAME");
      if (!name.empty()) nodes_.push_back({files.Resolve(kind + number), "/dev/" + name});
    }
  }
}

std::vector<std::string> KernelDevices::Below(const std::vector<Device>& devices,
                                              const PciAddress& address) {
  std::set<std::string> names;
  const std::string component = "/" + ToString(address) + "/";
  for (const Device& device : devices) {
    if (device.path.find(component) != std::string::npos) names.insert(device.name);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> KernelDevices::Disks(const PciAddress& address) const {
  return Below(disks_, address);
}
std::vector<std::string> KernelDevices::Networks(const PciAddress& address) const {
  return Below(networks_, address);
}
std::vector<std::string> KernelDevices::Nodes(const PciAddress& address) const {
  return Below(nodes_, address);
}

Result<IdleProof> ProveIdle(const HostFiles& files, const PciAddress& address,
                            const std::vector<std::string>& nodes) {
  const KernelDevices devices(files);
  std::vector<std::string> reasons;
  std::set<std::string> watched(nodes.begin(), nodes.end());
  IdleProof proof;
  for (const std::string& disk : devices.Disks(address)) {
    const Layers layers(files, disk);
    for (const Layer& layer : layers.all()) watched.insert("/dev/" + layer.name);
    FindDiskUse(files, layers, reasons);
  }
  FindOpeners(files, watched, reasons);
  for (const std::string& name : devices.Networks(address)) {
    const uint64_t flags = files.ReadNumber("/sys/class/net/" + name + "/flags").value_or(0);
    if ((flags & kInterfaceUp) != 0) {
      reasons.push_back("network interface " + Printable(name) + " is up");
    }
  }
  if (reasons.empty()) {
    for (const std::string& disk : devices.Disks(address)) {
      const std::string node = "/dev/" + disk;
      // Of a block device that somebody has claimed, whole or in part, in whatever namespace, the
      // kernel gives no exclusive descriptor.
      UniqueFd fd(open(files.Path(node).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
      if (!fd.valid() && errno == EBUSY) reasons.push_back(node + " is in exclusive use");
      if (fd.valid()) proof.disks.push_back(std::move(fd));
    }
  }
  if (reasons.empty()) return proof;
  std::string text = ToString(address) + " is in use";
  for (size_t i = 0; i < std::min(reasons.size(), kReasonsMax); ++i) {
    text += (i == 0 ? ": " : "; ") + reasons[i];
  }
  if (reasons.size() > kReasonsMax) text += "; and more";
  return Busy("%s", text);
}

std::string UnescapeMount(std::string_view text) {
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && text.size() - i > 3 && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace pollux::pci
