#include "drivers/ioat/host.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/check.h"
#include "drivers/pci/pci_address.h"
#include "drivers/pci/vfio_user_device.h"
#include "drivers/pci/vfio_user_greeting.h"

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
      registry_(parts_.registry == nullptr ? *own_registry_ : *parts_.registry),
      vfio_(registry_, files_, pci::VfioHost::Options{.no_iommu = parts_.allow_no_iommu}),
      registered_(registry_, "ioat: registered memory") {
  if (parts_.clock == nullptr) parts_.clock = &TheRealClock();
}

IoatHost::~IoatHost() {
  CHECK(devices_.empty(), "a host is destroyed before its devices were detached");
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
  return SharedPages::Map(name, RoundUp(bytes, unit), parts_.allow_no_iommu, registry_);
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
  return registered_.Add(memory, bytes, fd, fd_offset);
}

Status IoatHost::UnregisterMemory(const std::byte* memory) { return registered_.Remove(memory); }

// --- Devices.

Result<pollux_ioat_device*> IoatHost::AttachBegin(const std::string& address,
                                                  const pollux_ioat_attach_options& options) {
  const Result<pci::PciAddress> place = pci::ParsePciAddress(address);
  if (!place.ok() && address.find('/') == std::string::npos) {
    return InvalidField("address", address, "is neither a PCI address nor a path");
  }
  const std::string name = place.ok() ? pci::ToString(*place) : address;
  RETURN_IF_ERROR(CheckNew(name));
  const auto open = [&]() -> Result<std::unique_ptr<pci::PciDevice>> {
    if (place.ok()) return vfio_.Open(*place);
    const auto greeted = std::find_if(greeted_.begin(), greeted_.end(),
                                      [&](const auto& one) { return one->name() == address; });
    if (greeted == greeted_.end()) return pci::VfioUserDevice::Open(address, registry_);
    std::unique_ptr<pci::VfioUserClient> client = std::move(*greeted);
    greeted_.erase(greeted);
    return pci::VfioUserDevice::Open(std::move(client), registry_);
  };
  ASSIGN_OR_RETURN(std::unique_ptr<pci::PciDevice> device, open());
  return AttachDeviceBegin(std::move(device), name, options);
}

// A server of one client would have us wait.
Status IoatHost::CheckNew(const std::string& name) const {
  for (const auto& device : devices_) {
    if (Canonical(device->info().address) != Canonical(name)) continue;
    return AlreadyExists("%s is %s already", name, pollux_ioat_device_state_name(device->state()));
  }
  return OkStatus();
}

Task<Status> IoatHost::Greet(std::string address, const bool* cancelled) {
  if (pci::ParsePciAddress(address).ok() || address.find('/') == std::string::npos) {
    co_return OkStatus();
  }
  CO_RETURN_IF_ERROR(CheckNew(address));
  ASSIGN_OR_CO_RETURN(std::unique_ptr<pci::VfioUserClient> client,
                      co_await pci::GreetVfioUser(address, cancelled));
  std::erase_if(greeted_, [&](const auto& one) { return one->name() == address; });
  greeted_.push_back(std::move(client));
  co_return OkStatus();
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
