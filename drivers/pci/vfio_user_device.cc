#include "drivers/pci/vfio_user_device.h"

#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/log.h"
#include "core/mmio.h"
#include "core/spec/pci_spec.h"
#include "core/spec/vfio_user_spec.h"
#include "drivers/pci/pci_capabilities.h"

namespace pollux::pci {
namespace {

namespace spec = vfio_user_spec;

// A server may describe more than is good for our address space: files may have holes.
constexpr uint64_t kMappedBytesMax = uint64_t{64} << 30;

template <typename T>
constexpr T kAllOnes = static_cast<T>(~T{0});

bool IsHuge(const UniqueFd& file) {
  struct statfs system {};
  return fstatfs(file.get(), &system) == 0 && system.f_type == HUGETLBFS_MAGIC;
}

// Of the low `bytes` bytes of a value as they lie in memory.
template <typename T>
std::span<std::byte> LowBytes(T& value, size_t bytes) {
  return std::as_writable_bytes(std::span(&value, 1)).first(bytes);
}

}  // namespace

VfioUserDevice::VfioUserDevice(std::unique_ptr<VfioUserClient> client)
    : client_(std::move(client)) {}

Result<std::unique_ptr<PciDevice>> VfioUserDevice::Open(const std::string& address,
                                                        RegionRegistry& registry,
                                                        uint64_t timeout_ns) {
  ASSIGN_OR_RETURN(std::unique_ptr<VfioUserClient> client,
                   VfioUserClient::Connect(address, timeout_ns));
  return Open(std::move(client), registry);
}

Result<std::unique_ptr<PciDevice>> VfioUserDevice::Open(std::unique_ptr<VfioUserClient> client,
                                                        RegionRegistry& registry) {
  std::unique_ptr<VfioUserDevice> device(new VfioUserDevice(std::move(client)));
  RETURN_IF_ERROR(device->Start(registry));
  return device;
}

Status VfioUserDevice::Start(RegionRegistry& registry) {
  RETURN_IF_ERROR(WatchRemoval());
  ASSIGN_OR_RETURN(const VfioUserClient::Device device, client_->GetDevice());
  can_reset_ = device.can_reset;
  RETURN_IF_ERROR(FindRegions(device.regions));
  RETURN_IF_ERROR(FindInterrupts(device.irq_indexes));
  ASSIGN_OR_RETURN(dma_, DmaMap::Start(registry, *this));
  return OkStatus();
}

VfioUserDevice::~VfioUserDevice() {
  if (dma_ == nullptr) return;  // It never started.
  SetBusMaster(false);
  if (any_armed()) EnableInterrupts(false);
}

Status VfioUserDevice::WatchRemoval() {
  removal_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  epoll_event hang_up{.events = EPOLLRDHUP, .data = {}};
  if (!removal_.valid() ||
      epoll_ctl(removal_.get(), EPOLL_CTL_ADD, client_->socket(), &hang_up) != 0) {
    return ErrorOfErrno(errno, "no descriptor to watch a vfio-user connection by");
  }
  return OkStatus();
}

Status VfioUserDevice::FindRegions(uint32_t count) {
  for (uint32_t index = 0; index < std::min<uint32_t>(count, spec::kRegionConfig + 1); ++index) {
    ASSIGN_OR_RETURN(const VfioUserClient::DeviceRegion region, client_->GetRegion(index));
    if (index == spec::kRegionConfig) {
      config_bytes_ = region.bytes;
    } else if (index < bars_.size()) {
      bars_[index].bytes = region.bytes;
      RETURN_IF_ERROR(MapAreas(region, bars_[index]));
    }
  }
  if (config_bytes_ < pci_spec::kHeaderBytes) {
    return DataLoss("the vfio-user server at %s has a configuration space of %u bytes", name(),
                    config_bytes_);
  }
  return OkStatus();
}

// What cannot be mapped is reached by messages. So are huge pages: a page of ones cannot be laid
// over one of them.
Status VfioUserDevice::MapAreas(const VfioUserClient::DeviceRegion& region, Bar& bar) {
  const int access = (region.readable ? PROT_READ : 0) | (region.writable ? PROT_WRITE : 0);
  for (const VfioUserClient::Area& area : region.areas) {
    if (area.bytes > kMappedBytesMax - mapped_bytes_ || IsHuge(region.file)) continue;
    MappedArea mapped{.offset = area.offset, .bytes = area.bytes};
    const int error = mapped.memory.Map(region.file.get(), region.file_offset + area.offset,
                                        area.bytes, access, MappingGuard::Cover::kOnesPage);
    if (error != 0) {
      LogWarning("pci", "an area of the vfio-user server at %s cannot be mapped: %s", name(),
                 strerror(error));
      continue;
    }
    mapped_bytes_ += area.bytes;
    bar.areas.push_back(std::move(mapped));
  }
  return OkStatus();
}

Status VfioUserDevice::FindInterrupts(uint32_t indexes) {
  for (const uint32_t index : {spec::kIrqMsix, spec::kIrqMsi, spec::kIrqIntx}) {
    if (index >= indexes) continue;
    ASSIGN_OR_RETURN(vectors_, client_->GetVectors(index));
    irq_index_ = index;
    if (vectors_ > 0) break;
  }
  armed_.resize(vectors_);
  return OkStatus();
}

// --- Access.

uint32_t VfioUserDevice::ReadConfig(uint32_t offset, size_t bytes) {
  const uint32_t all_ones = kAllOnes<uint32_t> >> (32 - 8 * bytes);
  if (offset > config_bytes_ || bytes > config_bytes_ - offset) return all_ones;
  uint32_t value = 0;
  const Status status = client_->ReadRegion(spec::kRegionConfig, offset, LowBytes(value, bytes));
  return status.ok() ? value : all_ones;
}

void VfioUserDevice::WriteConfig(uint32_t offset, size_t bytes, uint32_t value) {
  if (offset > config_bytes_ || bytes > config_bytes_ - offset) return;
  client_->WriteRegion(spec::kRegionConfig, offset, LowBytes(value, bytes)).IgnoreError();
}

uint64_t VfioUserDevice::bar_bytes(int bar) const {
  return Contains(bar, 0, 0) ? bars_[static_cast<size_t>(bar)].bytes : 0;
}

bool VfioUserDevice::Contains(int bar, uint64_t offset, size_t bytes) const {
  if (bar < 0 || static_cast<size_t>(bar) >= bars_.size()) return false;
  const uint64_t all = bars_[static_cast<size_t>(bar)].bytes;
  return offset <= all && bytes <= all - offset;
}

std::byte* VfioUserDevice::MapBar(int bar, uint64_t offset, size_t bytes) {
  if (!Contains(bar, offset, bytes)) return nullptr;
  for (const MappedArea& area : bars_[static_cast<size_t>(bar)].areas) {
    const uint64_t at = offset - area.offset;
    if (at < area.bytes && bytes <= area.bytes - at) return area.memory.address() + at;
  }
  return nullptr;
}

template <typename T>
T VfioUserDevice::Read(int bar, uint64_t offset) {
  if (!Contains(bar, offset, sizeof(T))) return kAllOnes<T>;
  if (const std::byte* const mapped = MapBar(bar, offset, sizeof(T)); mapped != nullptr) {
    return gone().ok() ? MmioRead<T>(mapped) : kAllOnes<T>;
  }
  T value;
  const Status status =
      client_->ReadRegion(static_cast<uint32_t>(bar), offset, LowBytes(value, sizeof(T)));
  return status.ok() ? value : kAllOnes<T>;
}

template <typename T>
void VfioUserDevice::Write(int bar, uint64_t offset, T value) {
  if (!Contains(bar, offset, sizeof(T))) return;
  if (std::byte* const mapped = MapBar(bar, offset, sizeof(T)); mapped != nullptr) {
    return MmioWrite(mapped, value);
  }
  client_->WriteRegion(static_cast<uint32_t>(bar), offset, LowBytes(value, sizeof(T)))
      .IgnoreError();
}

uint32_t VfioUserDevice::Read32(int bar, uint64_t offset) { return Read<uint32_t>(bar, offset); }
uint64_t VfioUserDevice::Read64(int bar, uint64_t offset) { return Read<uint64_t>(bar, offset); }
void VfioUserDevice::Write32(int bar, uint64_t offset, uint32_t value) {
  Write(bar, offset, value);
}
void VfioUserDevice::Write64(int bar, uint64_t offset, uint64_t value) {
  Write(bar, offset, value);
}
uint8_t VfioUserDevice::Read8(int bar, uint64_t offset) { return Read<uint8_t>(bar, offset); }
uint16_t VfioUserDevice::Read16(int bar, uint64_t offset) { return Read<uint16_t>(bar, offset); }
void VfioUserDevice::Write8(int bar, uint64_t offset, uint8_t value) { Write(bar, offset, value); }
void VfioUserDevice::Write16(int bar, uint64_t offset, uint16_t value) {
  Write(bar, offset, value);
}

Status VfioUserDevice::gone() {
  for (const Bar& bar : bars_) {
    for (const MappedArea& area : bar.areas) {
      if (!area.memory.tripped()) continue;
      return client_->Break(NoDevice("the vfio-user server at %s took its registers away", name()));
    }
  }
  return client_->broken();
}

// --- DMA.

Result<DmaMapper::Mapping> VfioUserDevice::Map(const Region& region) {
  RETURN_IF_ERROR(client_->MapDma(region));
  return Mapping{.page_bytes = 0, .page_iova = {region.iova}};
}

void VfioUserDevice::Unmap(const Region& region, const Mapping&) {
  if (!client_->broken().ok()) return;
  const Status status = client_->UnmapDma(region);
  // Nobody can take the memory away from a server that keeps it; but nothing more is asked of it.
  if (!status.ok()) client_->Break(status).IgnoreError();
}

// --- Interrupts.

void VfioUserDevice::EnableInterrupts(bool on) {
  const auto change = [&](uint32_t offset, auto field, uint16_t value) {
    const uint32_t old = ReadConfig(offset, 2);
    const uint16_t next = field.Set(static_cast<uint16_t>(old), value);
    if (next != old) WriteConfig(offset, 2, next);
  };
  switch (irq_index_) {
    case spec::kIrqMsix:
      if (const auto at = FindCapability(*this, pci_spec::kMsixId); at.has_value()) {
        const auto control = static_cast<uint32_t>(*at + pci_spec::msix::kMessageControl.offset);
        change(control, pci_spec::msix::kFunctionMask, 0);
        change(control, pci_spec::msix::kEnable, on ? 1 : 0);
      }
      return;
    case spec::kIrqMsi:
      if (const auto at = FindCapability(*this, pci_spec::kMsiId); at.has_value()) {
        change(static_cast<uint32_t>(*at + pci_spec::msi::kMessageControl.offset),
               pci_spec::msi::kEnable, on ? 1 : 0);
      }
      return;
    default:
      change(pci_spec::kCommand.offset, pci_spec::command::kInterruptDisable, on ? 0 : 1);
  }
}

bool VfioUserDevice::any_armed() const {
  return std::find(armed_.begin(), armed_.end(), true) != armed_.end();
}

Status VfioUserDevice::SetInterrupt(uint32_t vector, int eventfd) {
  if (vector >= vectors_) {
    return InvalidArgument("vector %u of %s does not exist: it has %u", vector, name(), vectors_);
  }
  const bool had_any = any_armed();
  RETURN_IF_ERROR(client_->SetEventfd(irq_index_, vector, eventfd));
  armed_[vector] = eventfd >= 0;
  if (any_armed() != had_any) EnableInterrupts(!had_any);
  return client_->broken();
}

void VfioUserDevice::UnmaskInterrupt(uint32_t vector) {
  if (irq_index_ != spec::kIrqIntx || vector >= vectors_) return;
  client_->Unmask(irq_index_, vector).IgnoreError();
}

Status VfioUserDevice::Reset() {
  if (!can_reset_) return NotSupported("the vfio-user server at %s offers no reset", name());
  // As the kernel does it, what is set in the configuration space stays.
  const uint32_t command = ReadConfig(pci_spec::kCommand.offset, 2);
  RETURN_IF_ERROR(client_->Reset());
  if (command != 0xffff) WriteConfig(pci_spec::kCommand.offset, 2, command);
  if (any_armed()) EnableInterrupts(true);
  return client_->broken();
}

}  // namespace pollux::pci
