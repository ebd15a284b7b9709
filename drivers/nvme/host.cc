#include "drivers/nvme/host.h"

#include <sys/random.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/memory/memory.h"
#include "core/memory/page_supply.h"
#include "core/wire_int.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/pcie_transport.h"
#include "drivers/nvme/tcp_transport.h"
#include "drivers/pci/pci_address.h"
#include "drivers/pci/vfio_user_device.h"
#include "drivers/pci/vfio_user_greeting.h"

namespace pollux::nvme {
namespace {

constexpr size_t kMemoryDefault = 64 << 20;
constexpr size_t kMemoryMin = 2 << 20;
constexpr long kIdleNs = 50 * 1000;
constexpr int kPriorityMask = 7;

const Clock& TheRealClock() {
  static const RealClock clock;
  return clock;
}

// Without an IOMMU only hugepages stay where they are.
Result<bool> WantsHugepages(const pollux_nvme_host_options& options, size_t bytes) {
  const Hugepages wish = options.hugepages == POLLUX_NVME_HUGEPAGES_OFF  ? Hugepages::kOff
                         : options.hugepages == POLLUX_NVME_HUGEPAGES_ON ? Hugepages::kOn
                         : options.allow_no_iommu                        ? Hugepages::kOn
                                                                         : Hugepages::kAuto;
  return ChooseHugepages(wish, bytes, ReadPageSupply());
}

// RFC 9562, version 4.
std::array<uint8_t, 16> RandomUuid() {
  std::array<uint8_t, 16> uuid{};
  if (getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) {
    const auto now = static_cast<uint64_t>(time(nullptr)) ^ static_cast<uint64_t>(getpid()) << 32;
    memcpy(uuid.data(), &now, sizeof(now));
  }
  uuid[6] = static_cast<uint8_t>((uuid[6] & 0x0f) | 0x40);
  uuid[8] = static_cast<uint8_t>((uuid[8] & 0x3f) | 0x80);
  return uuid;
}

void WriteToStderr(int priority, const std::string& text) {
  if ((priority & kPriorityMask) > LOG_WARNING) return;
  fprintf(stderr, "nvme: %s\n", text.c_str());
}

}  // namespace

struct NvmeHost::Own {
  RegionRegistry registry;
  std::unique_ptr<SharedPages> pages;
};

NvmeHost::NvmeHost(Parts parts, std::shared_ptr<Own> own)
    : parts_(std::move(parts)),
      own_(std::move(own)),
      arena_(parts_.memory, parts_.memory_bytes),
      host_id_(RandomUuid()),
      registered_(*parts_.registry, "nvme: registered memory"),
      files_(parts_.files),
      vfio_(*parts_.registry, files_, pci::VfioHost::Options{.no_iommu = parts_.allow_no_iommu}) {
  if (parts_.clock == nullptr) parts_.clock = &TheRealClock();
}

NvmeHost::~NvmeHost() {
  CHECK(controllers_.empty(), "a host is destroyed before its controllers were released");
}

Result<std::unique_ptr<pollux_nvme_host>> NvmeHost::Create(pollux_nvme_host_options options) {
  const size_t bytes =
      std::max(options.memory_bytes == 0 ? kMemoryDefault : options.memory_bytes, kMemoryMin);
  ASSIGN_OR_RETURN(const bool huge, WantsHugepages(options, bytes));
  auto own = std::make_shared<Own>();
  ASSIGN_OR_RETURN(own->pages, SharedPages::Map("nvme", bytes, huge, own->registry));

  Parts parts;
  parts.registry = &own->registry;
  parts.memory = own->pages->address();
  parts.memory_bytes = own->pages->bytes();
  parts.allow_no_iommu = options.allow_no_iommu;
  if (options.log != nullptr) {
    parts.log = [log = options.log, context = options.log_context](int priority,
                                                                   const std::string& text) {
      log(context, priority, text.c_str());
    };
  } else {
    parts.log = WriteToStderr;
  }
  return std::make_unique<pollux_nvme_host>(std::move(parts), std::move(own));
}

void NvmeHost::Idle() {
  if (parts_.idle) return parts_.idle();
  const timespec moment = {0, kIdleNs};
  nanosleep(&moment, nullptr);
}

void NvmeHost::Log(int priority, const std::string& text) const {
  if (parts_.log) return parts_.log(priority, text);
  switch (priority & kPriorityMask) {
    case LOG_EMERG:
    case LOG_ALERT:
    case LOG_CRIT:
    case LOG_ERR:
      return LogError("nvme", "%s", Printable(text));
    case LOG_WARNING:
      return LogWarning("nvme", "%s", Printable(text));
    case LOG_NOTICE:
      return LogNotice("nvme", "%s", Printable(text));
    case LOG_INFO:
      return LogInfo("nvme", "%s", Printable(text));
    default:
      return LogDebug("nvme", "%s", Printable(text));
  }
}

// --- Memory.

Status NvmeHost::RegisterMemory(std::byte* memory, size_t bytes, int fd, uint64_t fd_offset) {
  return registered_.Add(memory, bytes, fd, fd_offset);
}

Status NvmeHost::UnregisterMemory(std::byte* memory) { return registered_.Remove(memory); }

// --- Devices.

Task<Status> NvmeHost::Greet(pollux_nvme_transport_id id, const bool* cancelled) {
  if (id.trtype != POLLUX_NVME_TRANSPORT_VFIOUSER) co_return OkStatus();
  ASSIGN_OR_CO_RETURN(greeted_, co_await pci::GreetVfioUser(id.traddr, cancelled));
  co_return OkStatus();
}

Result<std::unique_ptr<pci::PciDevice>> NvmeHost::OpenDevice(const pollux_nvme_transport_id& id) {
  switch (id.trtype) {
    case POLLUX_NVME_TRANSPORT_PCIE: {
      ASSIGN_OR_RETURN(const pci::PciAddress address, pci::ParsePciAddress(id.traddr));
      return vfio_.Open(address);
    }
    case POLLUX_NVME_TRANSPORT_VFIOUSER:
      if (greeted_ != nullptr && greeted_->name() == id.traddr) {
        return pci::VfioUserDevice::Open(std::move(greeted_), *parts_.registry);
      }
      return pci::VfioUserDevice::Open(id.traddr, *parts_.registry);
    case POLLUX_NVME_TRANSPORT_TCP:
      return InvalidArgument("a TCP target is no device");
  }
  return InvalidArgument("a transport of the type %d is not known", static_cast<int>(id.trtype));
}

Result<pollux_nvme_controller*> NvmeHost::Attach(const Transport::Maker& make_transport,
                                                 const pollux_nvme_transport_id& id,
                                                 const pollux_nvme_attach_options& options) {
  if (options.io_queue_depth == 1 || options.admin_queue_depth > 4096 ||
      (options.admin_queue_depth != 0 && options.admin_queue_depth < 4)) {
    return InvalidArgument("a queue depth is out of range: I/O 2 to 65535, admin 4 to 4096");
  }
  controllers_.push_back(
      std::make_unique<pollux_nvme_controller>(*this, make_transport, id, options));
  return controllers_.back().get();
}

Result<pollux_nvme_controller*> NvmeHost::Attach(const pollux_nvme_transport_id& id,
                                                 const pollux_nvme_attach_options& options) {
  if (id.trtype == POLLUX_NVME_TRANSPORT_TCP) {
    ASSIGN_OR_RETURN(TcpTarget target, FindTcpTarget(id, options, host_id_));
    const auto make = [&target](const Transport::Surroundings& around) {
      return std::unique_ptr<Transport>(std::make_unique<TcpTransport>(around, std::move(target)));
    };
    return Attach(make, id, options);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<pci::PciDevice> device, OpenDevice(id));
  return AttachDevice(std::move(device), id, options);
}

Result<pollux_nvme_controller*> NvmeHost::AttachDevice(std::unique_ptr<pci::PciDevice> device,
                                                       const pollux_nvme_transport_id& id,
                                                       const pollux_nvme_attach_options& options) {
  const auto make = [&device](const Transport::Surroundings& around) -> std::unique_ptr<Transport> {
    return std::make_unique<PcieTransport>(around, std::move(device));
  };
  return Attach(make, id, options);
}

void NvmeHost::Release(pollux_nvme_controller* controller) {
  std::erase_if(controllers_, [controller](const auto& mine) { return mine.get() == controller; });
}

}  // namespace pollux::nvme
