#include "drivers/ioat/host.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/check.h"
#include "drivers/pci/pci_address.h"
#include "drivers/pci/vfio_user_device.h"

namespace pollux::ioat {
namespace {

constexpr long kIdleNs = 50 * 1000;
constexpr size_t kHugepageBytes = 2 << 20;

const Clock& TheRealClock() {
  static const RealClock clock;
  return clock;
}

size_t RoundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// The same for a directory and the socket in it.
std::filesystem::path Canonical(const std::string& address) {
  const std::filesystem::path path = (std::filesystem::path(address) / "").lexically_normal();
  const std::filesystem::path last = path.parent_path();
  return last.filename() == "cntrl" ? last.parent_path() : last;
}

}  // namespace

IoatHost::IoatHost(Parts parts)
    : parts_(std::move(parts)),
      own_registry_(parts_.registry == nullptr ? std::make_unique<RegionRegistry>() : nullptr),
      files_(parts_.files),
      vfio_(parts_.registry == nullptr ? *own_registry_ : *parts_.registry, files_,
            pci::VfioHost::Options{.no_iommu = parts_.allow_no_iommu}) {
  if (parts_.registry == nullptr) parts_.registry = own_registry_.get();
  if (parts_.clock == nullptr) parts_.clock = &TheRealClock();
}

IoatHost::~IoatHost() {
  CHECK(devices_.empty(), "a host is destroyed before its devices were detached");
  for (const std::byte* memory : registered_) parts_.registry->Remove(memory);
}

void IoatHost::Idle() {
  if (parts_.idle) return parts_.idle();
  const timespec moment = {0, kIdleNs};
  nanosleep(&moment, nullptr);
}

// --- Memory.

Result<std::unique_ptr<SharedPages>> IoatHost::MapPages(const std::string& name, size_t bytes) {
  const size_t unit =
      parts_.allow_no_iommu ? kHugepageBytes : static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes == 0 || bytes > SIZE_MAX - unit) return InvalidArgument("%u bytes of memory", bytes);
  return SharedPages::Map(name, RoundUp(bytes, unit), parts_.allow_no_iommu, *parts_.registry);
}

Result<std::byte*> IoatHost::Allocate(size_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<SharedPages> pages, MapPages("ioat: memory", bytes));
  allocated_.push_back(std::move(pages));
  return allocated_.back()->address();
}

void IoatHost::Free(const std::byte* memory) {
  std::erase_if(allocated_, [memory](const auto& each) { return each->address() == memory; });
}

Status IoatHost::RegisterMemory(std::byte* memory, size_t bytes, int fd, uint64_t fd_offset) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (memory == nullptr || bytes == 0 || address % page != 0 || bytes % page != 0 ||
      address + bytes < address || fd_offset % page != 0) {
    return InvalidArgument("memory to register is not of whole pages");
  }
  Region region;
  region.address = memory;
  region.bytes = bytes;
  region.fd = fd;
  region.offset = fd_offset;
  region.name = "ioat: registered memory";
  RETURN_IF_ERROR(parts_.registry->Add(region));
  registered_.push_back(memory);
  return OkStatus();
}

Status IoatHost::UnregisterMemory(const std::byte* memory) {
  const auto found = std::find(registered_.begin(), registered_.end(), memory);
  if (found == registered_.end()) return NotFound("this memory was not registered");
  registered_.erase(found);
  parts_.registry->Remove(memory);
  return OkStatus();
}

// --- Devices.

Result<pollux_ioat_device*> IoatHost::AttachBegin(const std::string& address,
                                                  const pollux_ioat_attach_options& options) {
  const Result<pci::PciAddress> place = pci::ParsePciAddress(address);
  if (!place.ok() && address.find('/') == std::string::npos) {
    return InvalidField("address", address, "is neither a PCI address nor a path");
  }
  // A server of one client would have us wait.
  const std::string name = place.ok() ? pci::ToString(*place) : address;
  for (const auto& device : devices_) {
    if (Canonical(device->info().address) != Canonical(name)) continue;
    return AlreadyExists("%s is %s already", name, pollux_ioat_device_state_name(device->state()));
  }
  ASSIGN_OR_RETURN(
      std::unique_ptr<pci::PciDevice> device,
      place.ok() ? vfio_.Open(*place) : pci::VfioUserDevice::Open(address, *parts_.registry));
  return AttachDeviceBegin(std::move(device), name, options);
}

Result<pollux_ioat_device*> IoatHost::AttachDeviceBegin(std::unique_ptr<pci::PciDevice> pci,
                                                        const std::string& address,
                                                        const pollux_ioat_attach_options& options) {
  auto device = std::make_unique<pollux_ioat_device>(*this, std::move(pci), address, options);
  RETURN_IF_ERROR(device->Start());
  devices_.push_back(std::move(device));
  return devices_.back().get();
}

void IoatHost::Release(const pollux_ioat_device& device) {
  CHECK(device.state() == POLLUX_IOAT_DEVICE_DETACHED, "a device is released while it is attached");
  std::erase_if(devices_, [&device](const auto& mine) { return mine.get() == &device; });
}

// Each state of a channel has a time after which it has ended.
Result<pollux_ioat_device*> IoatHost::Await(Result<pollux_ioat_device*> begun) {
  ASSIGN_OR_RETURN(pollux_ioat_device * device, std::move(begun));
  while (device->state() == POLLUX_IOAT_DEVICE_ATTACHING) {
    device->Poll().IgnoreError();
    if (device->state() == POLLUX_IOAT_DEVICE_ATTACHING) Idle();
  }
  if (device->state() == POLLUX_IOAT_DEVICE_READY) return device;
  const Status failure = device->failure();
  RETURN_IF_ERROR(Detach(*device));
  return failure;
}

Result<pollux_ioat_device*> IoatHost::Attach(const std::string& address,
                                             const pollux_ioat_attach_options& options) {
  return Await(AttachBegin(address, options));
}

Result<pollux_ioat_device*> IoatHost::AttachDevice(std::unique_ptr<pci::PciDevice> pci,
                                                   const std::string& address,
                                                   const pollux_ioat_attach_options& options) {
  return Await(AttachDeviceBegin(std::move(pci), address, options));
}

Status IoatHost::Detach(pollux_ioat_device& device) {
  if (device.polling()) return ErrorOfErrno(EDEADLK, "a callback may not wait");
  RETURN_IF_ERROR(device.Detach());
  while (device.state() != POLLUX_IOAT_DEVICE_DETACHED) {
    device.Poll().IgnoreError();
    if (device.state() != POLLUX_IOAT_DEVICE_DETACHED) Idle();
  }
  Release(device);
  return OkStatus();
}

}  // namespace pollux::ioat
