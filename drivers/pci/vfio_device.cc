#include "drivers/pci/vfio_device.h"

#include <linux/vfio.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "drivers/pci/pci_capabilities.h"

namespace pollux::pci {
namespace {

bool IsReadable(const UniqueFd& fd) {
  pollfd watched{.fd = fd.get(), .events = POLLIN, .revents = 0};
  return fd.valid() && poll(&watched, 1, 0) == 1;
}

}  // namespace

VfioDevice::VfioDevice(std::shared_ptr<VfioGroup> group, const PciFunction& function, UniqueFd fd)
    : name_(ToString(function.address)),
      numa_node_(function.numa_node),
      group_(std::move(group)),
      fd_(std::move(fd)),
      interrupts_(fd_.get()) {}

Result<std::unique_ptr<PciDevice>> VfioDevice::Open(std::shared_ptr<VfioGroup> group,
                                                    const PciFunction& function) {
  ASSIGN_OR_RETURN(UniqueFd fd, group->OpenDevice(ToString(function.address)));
  std::unique_ptr<VfioDevice> device(new VfioDevice(std::move(group), function, std::move(fd)));
  RETURN_IF_ERROR(device->Start());
  return std::unique_ptr<PciDevice>(std::move(device));
}

Status VfioDevice::Start() {
  vfio_device_info info{.argsz = sizeof(info)};
  if (ioctl(fd_.get(), VFIO_DEVICE_GET_INFO, &info) != 0 ||
      (info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) {
    return NotSupported("%s: VFIO does not know it as a PCI device", name_);
  }
  resettable_ = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
  ASSIGN_OR_RETURN(config_, QueryRegion(fd_.get(), VFIO_PCI_CONFIG_REGION_INDEX));
  if (Status status = gone(); !status.ok()) return status;

  // Without it the BARs do not answer. DMA waits for SetBusMaster().
  constexpr auto kOffset = static_cast<uint32_t>(pci_spec::kCommand.offset);
  const auto command = static_cast<uint16_t>(ReadConfig(kOffset, sizeof(uint16_t)));
  WriteConfig(kOffset, sizeof(uint16_t), pci_spec::command::kMemorySpace.Set(command, 1));
  RETURN_IF_ERROR(OpenBars());
  return WatchRemoval();
}

VfioDevice::~VfioDevice() {
  SetBusMaster(false);
  group_->OnDeviceClosed(name_);
}

Status VfioDevice::OpenBars() {
  const std::optional<MsixTable> msix = FindMsixTable(*this);
  for (uint32_t bar = 0; bar < pci_spec::kBars; ++bar) {
    ASSIGN_OR_RETURN(const RegionInfo info,
                     QueryRegion(fd_.get(), VFIO_PCI_BAR0_REGION_INDEX + bar));
    if (info.bytes == 0) continue;
    std::optional<VfioBar::Area> table;
    if (msix && msix->bar == static_cast<int>(bar)) table = {msix->offset, msix->bytes};
    ASSIGN_OR_RETURN(bars_[bar], VfioBar::Open(fd_.get(), info, table));
  }
  return OkStatus();
}

Status VfioDevice::WatchRemoval() {
  requested_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  failed_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  removal_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!requested_.valid() || !failed_.valid() || !removal_.valid()) {
    return ErrorOfErrno(errno,
                        absl::StrFormat("%s: no event descriptors: %s", name_, strerror(errno)));
  }
  for (const auto& [index, fd] : {std::pair{VFIO_PCI_REQ_IRQ_INDEX, requested_.get()},
                                  std::pair{VFIO_PCI_ERR_IRQ_INDEX, failed_.get()}}) {
    // Not every device and kernel has both.
    if (!VfioInterrupts::WatchEvent(fd_.get(), static_cast<uint32_t>(index), fd)) continue;
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (epoll_ctl(removal_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return InternalError("%s: epoll_ctl: %s", name_, strerror(errno));
    }
  }
  return OkStatus();
}

uint32_t VfioDevice::ReadConfig(uint32_t offset, size_t bytes) {
  uint32_t value = 0;
  if (offset <= config_.bytes && bytes <= config_.bytes - offset) {
    const ssize_t count =
        pread(fd_.get(), &value, bytes, static_cast<off_t>(config_.offset + offset));
    if (count == static_cast<ssize_t>(bytes)) return value;
  }
  return pci_spec::kAllOnes >> (32 - 8 * bytes);
}

void VfioDevice::WriteConfig(uint32_t offset, size_t bytes, uint32_t value) {
  if (offset > config_.bytes || bytes > config_.bytes - offset) return;
  // Of a device that is gone it fails, which is as it should be.
  if (pwrite(fd_.get(), &value, bytes, static_cast<off_t>(config_.offset + offset)) < 0) return;
}

const VfioBar& VfioDevice::Bar(int bar) const {
  return bars_[bar >= 0 && bar < pci_spec::kBars ? static_cast<size_t>(bar) : pci_spec::kBars];
}
uint64_t VfioDevice::bar_bytes(int bar) const { return Bar(bar).bytes(); }
uint32_t VfioDevice::Read32(int bar, uint64_t offset) {
  return static_cast<uint32_t>(Bar(bar).Read(offset, sizeof(uint32_t)));
}
uint64_t VfioDevice::Read64(int bar, uint64_t offset) {
  return Bar(bar).Read(offset, sizeof(uint64_t));
}
void VfioDevice::Write32(int bar, uint64_t offset, uint32_t value) {
  Bar(bar).Write(offset, sizeof(uint32_t), value);
}
void VfioDevice::Write64(int bar, uint64_t offset, uint64_t value) {
  Bar(bar).Write(offset, sizeof(uint64_t), value);
}
uint8_t VfioDevice::Read8(int bar, uint64_t offset) {
  return static_cast<uint8_t>(Bar(bar).Read(offset, sizeof(uint8_t)));
}
uint16_t VfioDevice::Read16(int bar, uint64_t offset) {
  return static_cast<uint16_t>(Bar(bar).Read(offset, sizeof(uint16_t)));
}
void VfioDevice::Write8(int bar, uint64_t offset, uint8_t value) {
  Bar(bar).Write(offset, sizeof(uint8_t), value);
}
void VfioDevice::Write16(int bar, uint64_t offset, uint16_t value) {
  Bar(bar).Write(offset, sizeof(uint16_t), value);
}
std::byte* VfioDevice::MapBar(int bar, uint64_t offset, size_t bytes) {
  return Bar(bar).Map(offset, bytes);
}

Status VfioDevice::SetInterrupt(uint32_t vector, int eventfd) {
  return interrupts_.Set(vector, eventfd);
}
void VfioDevice::UnmaskInterrupt(uint32_t /*vector*/) { interrupts_.Unmask(); }

Status VfioDevice::Reset() {
  if (!resettable_) return NotSupported("%s cannot be reset alone", name_);
  // Function-level reset where the function has it; else what the kernel finds that touches no
  // other function: by power state, or of a bus that it is alone on.
  if (ioctl(fd_.get(), VFIO_DEVICE_RESET) != 0) {
    const int error_number = errno;
    return ErrorOfErrno(
        error_number, absl::StrFormat("%s: VFIO_DEVICE_RESET: %s", name_, strerror(error_number)));
  }
  return OkStatus();
}

Status VfioDevice::gone() {
  if (IsReadable(requested_)) return NoDevice("%s: the kernel wants it back", name_);
  if (IsReadable(failed_)) return NoDevice("%s had a fatal PCI Express error", name_);
  const uint32_t vendor =
      ReadConfig(static_cast<uint32_t>(pci_spec::kVendorId.offset), sizeof(uint16_t));
  if (vendor == pci_spec::kVendorIdInvalid) return NoDevice("%s does not answer", name_);
  for (const VfioBar& bar : bars_) {
    if (bar.tripped()) return NoDevice("%s: its registers were taken away", name_);
  }
  return OkStatus();
}

}  // namespace pollux::pci
