#include "service/nvme_hotplug.h"

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "core/run_on.h"
#include "drivers/nvme_disk/nvme_transport.h"
#include "drivers/pci/pci_bus.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

constexpr uint32_t kNvmeClass = 0x010802;

std::set<std::string> DevicesOfVfio() {
  const pci::HostFiles files;
  std::set<std::string> addresses;
  for (const pci::PciFunction& function : pci::PciBus(files).List()) {
    if (function.class_code != kNvmeClass || function.driver != "vfio-pci") continue;
    addresses.insert(ToString(function.address));
  }
  return addresses;
}

}  // namespace

NvmeHotplug::~NvmeHotplug() = default;

void NvmeHotplug::Start(uint64_t period_us) {
  period_us_ = period_us;
  appliance_.control().ArmTimerIn(*this, 0);
}

void NvmeHotplug::Stop() {
  appliance_.control().CancelTimer(*this);
  known_.clear();
}

void NvmeHotplug::OnTimer() {
  if (appliance_.stopping()) return;
  std::set<std::string> present = DevicesOfVfio();
  bool appeared = false;
  for (const std::string& address : present) {
    if (known_.contains(address)) continue;
    appeared = true;
    appliance_.Spawn(Attach(address));
  }
  known_ = std::move(present);
  if (appeared) appliance_.RetryPendingSoon();
  appliance_.control().ArmTimerIn(*this, period_us_ * kNsPerUs);
}

std::string NvmeHotplug::UnusedName() const {
  for (int i = 0;; ++i) {
    std::string name = "HotInNvme" + std::to_string(i);
    if (!appliance_.nvme().IsTaken(name)) return name;
  }
}

Task<void> NvmeHotplug::Attach(std::string address) {
  // A pending call may want this device: it has a while to take it.
  Sleep a_while(kNsPerSecond);
  co_await a_while;
  const Result<pollux_nvme_transport_id> id =
      NvmeTransportId({.trtype = "PCIe", .traddr = address});
  if (!id.ok() || appliance_.stopping()) co_return;
  NvmeAttachment attachment;
  attachment.name = UnusedName();
  attachment.id = *id;
  const Result<NvmePath*> path = appliance_.nvme().Reserve(attachment);
  if (!path.ok()) co_return;  // Somebody has it.
  Status status = co_await (*path)->Connect();
  {
    const Turn::Holder held = co_await appliance_.dispatcher().turn().Take();
    if (status.ok()) status = co_await (*path)->subsystem().Publish(**path);
    if (status.ok()) {
      LogNotice("nvme", "%s appeared and is attached as %s", address, attachment.name);
      co_return;
    }
    const Status removed = co_await appliance_.nvme().RemovePath(*path);
    if (!removed.ok()) LogError("nvme", "%s", removed.message());
  }
  LogWarning("nvme", "%s appeared and cannot be attached: %s", address, status.message());
}

}  // namespace pollux::service
