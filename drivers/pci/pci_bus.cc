#include "drivers/pci/pci_bus.h"

#include <charconv>
#include <optional>
#include <utility>

#include "core/log.h"
#include "core/spec/pci_spec.h"
#include "drivers/pci/device_use.h"

namespace pollux::pci {
namespace {

constexpr std::string_view kDevices = "/sys/bus/pci/devices/";
constexpr std::string_view kDrivers = "/sys/bus/pci/drivers/";
constexpr std::string_view kProbe = "/sys/bus/pci/drivers_probe";
constexpr std::string_view kNothing = "\n";  // What clears a driver_override.

std::string Folder(const PciAddress& address) { return std::string(kDevices) + ToString(address); }

int NumberOr(std::string_view text, int otherwise) {
  int number = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// A name as drivers have them, and no way out of the folder of drivers.
bool IsDriverName(std::string_view name) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of(kLetters) == std::string_view::npos;
}

// Nullopt: it went while we were reading.
std::optional<PciFunction> ReadFunction(const HostFiles& files, const KernelDevices& devices,
                                        const PciAddress& address) {
  const std::string folder = Folder(address);
  const auto number = [&files, &folder](const char* name) {
    return files.ReadNumber(folder + "/" + name);
  };
  const std::optional<uint64_t> vendor = number("vendor");
  if (!vendor) return std::nullopt;
  PciFunction function;
  function.address = address;
  function.vendor = static_cast<uint16_t>(*vendor);
  function.device = static_cast<uint16_t>(number("device").value_or(0));
  function.subsystem_vendor = static_cast<uint16_t>(number("subsystem_vendor").value_or(0));
  function.subsystem_device = static_cast<uint16_t>(number("subsystem_device").value_or(0));
  function.class_code = static_cast<uint32_t>(number("class").value_or(0)) & 0xffffff;
  function.revision = static_cast<uint8_t>(number("revision").value_or(0));
  function.numa_node = NumberOr(files.Read(folder + "/numa_node").value_or(""), -1);
  function.driver = files.LinkName(folder + "/driver");
  function.block_devices = devices.Disks(address);
  function.net_devices = devices.Networks(address);
  function.device_nodes = devices.Nodes(address);

  const std::string group = files.LinkName(folder + "/iommu_group");
  function.iommu_group = NumberOr(group, -1);
  if (function.iommu_group >= 0) {
    const std::string name = "/sys/kernel/iommu_groups/" + group + "/name";
    function.no_iommu = files.Read(name) == "vfio-noiommu";
    const std::string node = (function.no_iommu ? "/dev/vfio/noiommu-" : "/dev/vfio/") + group;
    if (files.Exists(node)) function.device_nodes.push_back(node);
  }
  return function;
}

}  // namespace

std::vector<PciFunction> PciBus::List() const {
  const KernelDevices devices(files_);
  std::vector<PciFunction> functions;
  for (const std::string& name : files_.List(kDevices)) {
    const Result<PciAddress> address = ParsePciAddress(name);
    if (!address.ok()) continue;
    std::optional<PciFunction> function = ReadFunction(files_, devices, *address);
    if (function) functions.push_back(*std::move(function));
  }
  return functions;
}

Result<PciFunction> PciBus::Find(const PciAddress& address) const {
  std::optional<PciFunction> function = ReadFunction(files_, KernelDevices(files_), address);
  if (!function) return NoDevice("there is no PCI function %s", ToString(address));
  return *std::move(function);
}

Result<std::string> PciBus::ReadConfig(const PciAddress& address) const {
  std::optional<std::string> bytes = files_.ReadBytes(Folder(address) + "/config");
  if (!bytes) return NoDevice("cannot read the configuration space of %s", ToString(address));
  return *std::move(bytes);
}

Status PciBus::Rebind(const PciFunction& function, std::string_view driver) const {
  const std::string folder = Folder(function.address);
  const std::string name = ToString(function.address);
  RETURN_IF_ERROR(files_.Write(folder + "/driver_override", driver));
  if (!function.driver.empty()) RETURN_IF_ERROR(files_.Write(folder + "/driver/unbind", name));
  return files_.Write(kProbe, name);
}

Status PciBus::Bind(const PciAddress& address, std::string_view driver) const {
  if (!IsDriverName(driver)) return InvalidField("driver", driver, "is not the name of a driver");
  ASSIGN_OR_RETURN(const PciFunction function, Find(address));
  const std::string name = ToString(address);
  if (function.driver == driver) return OkStatus();
  if (function.class_code >> 16 == pci_spec::class_code::kBridgeBase) {
    return NotSupported("%s is a bridge: it stays with the kernel", name);
  }
  if (!files_.Exists(std::string(kDrivers) + std::string(driver))) {
    return NotFound("driver %s is not loaded: modprobe %s", driver, driver);
  }
  ASSIGN_OR_RETURN(const IdleProof proof, ProveIdle(files_, address, function.device_nodes));

  const std::string folder = Folder(address);
  const std::string old_override = files_.Read(folder + "/driver_override").value_or("(null)");
  const Status status = Rebind(function, driver);
  if (files_.LinkName(folder + "/driver") == driver) return OkStatus();

  // It did not take it, or we could not tell the kernel: back to where it was.
  const Status undone =
      files_.Write(folder + "/driver_override", old_override == "(null)" ? kNothing : old_override);
  if (!function.driver.empty() && files_.LinkName(folder + "/driver").empty()) {
    const Status bound = files_.Write(std::string(kDrivers) + function.driver + "/bind", name);
    if (!bound.ok()) {
      LogWarning("pci", "%s is without a driver now: %s", name, std::string(bound.message()));
    }
  }
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(undone);
  if (driver == "vfio-pci" && function.iommu_group < 0) {
    return NotSupported(
        "driver vfio-pci does not take %s: it has no IOMMU group. Switch the IOMMU on (in the "
        "firmware, and intel_iommu=on or amd_iommu=on for the kernel)",
        name);
  }
  return InternalError("driver %s does not take %s; the kernel's log may say why", driver, name);
}

Status PciBus::Unbind(const PciAddress& address) const {
  ASSIGN_OR_RETURN(const PciFunction function, Find(address));
  const std::string folder = Folder(address);
  ASSIGN_OR_RETURN(const IdleProof proof, ProveIdle(files_, address, function.device_nodes));
  if (!function.driver.empty()) {
    RETURN_IF_ERROR(files_.Write(folder + "/driver/unbind", ToString(address)));
  }
  return files_.Write(folder + "/driver_override", kNothing);
}

Status PciBus::Restore(const PciAddress& address) const {
  ASSIGN_OR_RETURN(const PciFunction function, Find(address));
  ASSIGN_OR_RETURN(const IdleProof proof, ProveIdle(files_, address, function.device_nodes));
  RETURN_IF_ERROR(Rebind(function, kNothing));
  if (!files_.LinkName(Folder(address) + "/driver").empty()) return OkStatus();
  return NotFound("%s has no driver now: none that is loaded takes it", ToString(address));
}

Status PciBus::Reset(const PciAddress& address) const {
  ASSIGN_OR_RETURN(const PciFunction function, Find(address));
  if (!files_.Exists(Folder(address) + "/reset")) {
    return NotSupported("the kernel knows no way to reset %s alone", ToString(address));
  }
  ASSIGN_OR_RETURN(const IdleProof proof, ProveIdle(files_, address, function.device_nodes));
  return files_.Write(Folder(address) + "/reset", "1");
}

std::vector<std::string> PciBus::GroupObstacles(int iommu_group) const {
  std::vector<std::string> obstacles;
  const std::string folder =
      "/sys/kernel/iommu_groups/" + std::to_string(iommu_group) + "/devices/";
  for (const std::string& name : files_.List(folder)) {
    const std::string driver = files_.LinkName(std::string(kDevices) + name + "/driver");
    // The drivers that the kernel knows to leave DMA alone, and no driver at all.
    if (driver.empty() || driver.compare(0, 5, "vfio-") == 0 || driver == "pci-stub" ||
        driver == "pcieport") {
      continue;
    }
    obstacles.push_back(name + " (driver " + driver + ")");
  }
  return obstacles;
}

}  // namespace pollux::pci
