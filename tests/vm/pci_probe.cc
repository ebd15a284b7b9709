// pci_probe COMMAND ADDRESS...: what drivers/pci alone does with SSDs, in a guest of tests/vm. One
// line for each thing found; the last is "ok".
//
//   show, bind, restore, reset   by PciBus
//   identify                     drives it through VFIO, and takes its registers away in the end
//   no-iommu                     the same without an IOMMU
//   hold                         the same, but waits until the kernel wants the SSD back
//   watch                        tells what happens to the SSD until it is plugged in
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/memory/region_registry.h"
#include "core/unique_fd.h"
#include "drivers/pci/hotplug.h"
#include "drivers/pci/pci_bus.h"
#include "drivers/pci/vfio_host.h"

namespace pollux::pci {
namespace {

constexpr size_t kHugePage = 2 << 20;
constexpr int kPatienceMs = 30000;  // Of an emulated machine.

// NVMe 1.4 §3.1, as far as an Identify needs it.
constexpr uint64_t kCap = 0x00, kVs = 0x08, kCc = 0x14, kCsts = 0x1c, kAqa = 0x24, kAsq = 0x28,
                   kAcq = 0x30, kDoorbells = 0x1000;
constexpr uint32_t kEnable = 6u << 16 | 4u << 20 | 1;  // Entries of 64 and 16 bytes.

// Pages: submission queue, completion queue, data.
constexpr size_t kSq = 0, kCq = 4096, kData = 8192;

class Probe {
 public:
  Probe(RegionRegistry& registry, PciDevice& device, std::byte* memory)
      : registry_(registry), device_(device), memory_(memory), view_(device.dma()) {}

  Status Run() {
    printf("name %s numa %d bar0 %d bytes, %d vectors\n", device_.name().c_str(),
           device_.numa_node(), static_cast<int>(device_.bar_bytes(0)),
           static_cast<int>(device_.interrupt_vectors()));
    printf("cap %016lx vs %08x\n", device_.Read64(0, kCap), device_.Read32(0, kVs));
    if (device_.Read32(0, 1 << 20) != 0xffffffff || device_.Read32(5, 0) != 0xffffffff) {
      return InternalError("something answers outside the BARs");
    }
    RETURN_IF_ERROR(device_.Reset());
    device_.SetBusMaster(true);
    for (const uint32_t vector : {0u, 2u, 1u}) {  // The last two make the kernel's set grow.
      RETURN_IF_ERROR(device_.SetInterrupt(vector, interrupt_.get()));
    }
    RETURN_IF_ERROR(device_.SetInterrupt(2, -1));
    uint64_t count = 0;  // Growing may have signalled it.
    if (read(interrupt_.get(), &count, sizeof(count)) > 0) printf("grown\n");
    RETURN_IF_ERROR(Enable());
    return Identify();
  }

  Status Hold() {
    printf("holding\n");
    fflush(stdout);
    pollfd removal{.fd = device_.removal_fd(), .events = POLLIN, .revents = 0};
    if (poll(&removal, 1, kPatienceMs) != 1) return TimedOut("nobody wants it back");
    printf("removal: %s\n", std::string(device_.gone().message()).c_str());
    return device_.gone().ok() ? InternalError("it is not gone") : OkStatus();
  }

  // Takes away the memory space under the mapped BAR, as a surprise removal would.
  Status TakeRegistersAway() {
    std::byte* const registers = device_.MapBar(0, 0, 4096);
    if (registers == nullptr) return InternalError("BAR 0 cannot be mapped");
    device_.WriteConfig(4, 2, device_.ReadConfig(4, 2) & ~2u);
    const auto vs = MmioRead<uint32_t>(registers + kVs);
    MmioWrite<uint32_t>(registers + kCc, 0);
    printf("taken away: vs %08x, %s\n", vs, std::string(device_.gone().message()).c_str());
    return vs == 0xffffffff && !device_.gone().ok() ? OkStatus()
                                                    : InternalError("the guard did nothing");
  }

 private:
  Status WaitReady(uint32_t ready) {
    for (int i = 0; i < kPatienceMs; ++i) {
      if ((device_.Read32(0, kCsts) & 1) == ready) return OkStatus();
      usleep(1000);
    }
    return TimedOut("CSTS.RDY does not become %d", ready);
  }

  Status Enable() {
    const DmaView::Piece piece = view_.Translate(memory_);
    printf("iova %lx+%lx\n", piece.iova, piece.bytes);
    device_.Write32(0, kCc, 0);
    RETURN_IF_ERROR(WaitReady(0));
    device_.Write32(0, kAqa, 31u << 16 | 31);
    device_.Write64(0, kAsq, piece.iova + kSq);
    device_.Write64(0, kAcq, piece.iova + kCq);
    device_.Write32(0, kCc, kEnable);
    return WaitReady(1);
  }

  Status Identify() {
    uint32_t command[16] = {6 | 7u << 16};
    const uint64_t data = view_.Translate(memory_ + kData).iova;
    memcpy(command + 6, &data, sizeof(data));
    command[10] = 1;
    memcpy(memory_ + kSq, command, sizeof(command));
    std::byte* const doorbells = device_.MapBar(0, kDoorbells, 8);
    if (doorbells == nullptr) return InternalError("the doorbells cannot be mapped");
    MmioWrite<uint32_t>(doorbells, 1);
    pollfd interrupt{.fd = interrupt_.get(), .events = POLLIN, .revents = 0};
    if (poll(&interrupt, 1, kPatienceMs) != 1) return TimedOut("no interrupt");
    printf("interrupt; serial %.20s\n", reinterpret_cast<const char*>(memory_ + kData + 4));
    return OkStatus();
  }

  RegionRegistry& registry_;
  PciDevice& device_;
  std::byte* const memory_;
  DmaView view_;
  UniqueFd interrupt_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

std::byte* MapMemory(RegionRegistry& registry, bool huge) {
  const int flags = MAP_SHARED | MAP_ANONYMOUS | (huge ? MAP_HUGETLB : 0);
  void* const memory = mmap(nullptr, kHugePage, PROT_READ | PROT_WRITE, flags, -1, 0);
  CHECK(memory != MAP_FAILED);
  const Region region{.address = static_cast<std::byte*>(memory),
                      .bytes = kHugePage,
                      .name = huge ? "huge" : "ordinary"};
  const Status added = registry.Add(region);
  printf("memory %s: %s\n", region.name.c_str(), std::string(added.message()).c_str());
  return region.address;
}

Status Drive(const HostFiles& files, const std::vector<PciAddress>& addresses, bool no_iommu,
             bool hold) {
  RegionRegistry registry;
  std::byte* const memory = MapMemory(registry, true);
  VfioHost host(registry, files, {.no_iommu = no_iommu});
  std::vector<std::unique_ptr<PciDevice>> devices;
  for (const PciAddress& address : addresses) {
    ASSIGN_OR_RETURN(std::unique_ptr<PciDevice> device, host.Open(address));
    printf("again: %s\n", std::string(host.Open(address).status().message()).c_str());
    printf("shared: %d\n", !devices.empty() && &device->dma() == &devices[0]->dma());
    devices.push_back(std::move(device));
  }
  MapMemory(registry, false);  // A device without an IOMMU must not be given this.
  for (const std::unique_ptr<PciDevice>& device : devices) {
    memset(memory, 0, kHugePage);
    Probe probe(registry, *device, memory);
    RETURN_IF_ERROR(probe.Run());
    RETURN_IF_ERROR(hold ? probe.Hold() : probe.TakeRegistersAway());
  }
  return OkStatus();
}

Status Show(const PciBus& bus, const PciAddress& address) {
  ASSIGN_OR_RETURN(const PciFunction function, bus.Find(address));
  ASSIGN_OR_RETURN(const std::string config, bus.ReadConfig(address));
  printf("%s class %06x driver %s group %d config %zu", ToString(address).c_str(),
         function.class_code, function.driver.c_str(), function.iommu_group, config.size());
  for (const std::string& disk : function.block_devices) printf(" %s", disk.c_str());
  for (const std::string& node : function.device_nodes) printf(" %s", node.c_str());
  printf("\n");
  return OkStatus();
}

Status Watch(const PciAddress& address) {
  ASSIGN_OR_RETURN(const std::unique_ptr<HotplugMonitor> monitor, HotplugMonitor::Start());
  printf("watching\n");
  fflush(stdout);
  for (;;) {
    pollfd events{.fd = monitor->fd(), .events = POLLIN, .revents = 0};
    if (poll(&events, 1, kPatienceMs) != 1) return TimedOut("nothing happens");
    for (const HotplugEvent& event : monitor->Read().events) {
      if (event.address != address) continue;
      printf("event %d class %06x %s\n", static_cast<int>(event.action), event.class_code,
             event.driver.c_str());
      if (event.action == HotplugEvent::Action::kAdd) return OkStatus();
    }
  }
}

Status Run(std::string_view command, std::span<char*> words) {
  const HostFiles files;
  const PciBus bus(files);
  std::vector<PciAddress> addresses;
  for (const char* word : words) {
    ASSIGN_OR_RETURN(const PciAddress address, ParsePciAddress(word));
    addresses.push_back(address);
    if (command == "show") RETURN_IF_ERROR(Show(bus, address));
    if (command == "bind") RETURN_IF_ERROR(bus.Bind(address, "vfio-pci"));
    if (command == "restore") RETURN_IF_ERROR(bus.Restore(address));
    if (command == "watch") RETURN_IF_ERROR(Watch(address));
    if (command == "reset") RETURN_IF_ERROR(bus.Reset(address));
  }
  const bool drive = command == "identify" || command == "no-iommu" || command == "hold";
  return drive ? Drive(files, addresses, command == "no-iommu", command == "hold") : OkStatus();
}

}  // namespace
}  // namespace pollux::pci

int main(int count, char** words) {
  if (count < 3) return 2;
  const pollux::Status status =
      pollux::pci::Run(words[1], std::span(words, static_cast<size_t>(count)).subspan(2));
  printf("%s\n", status.ok() ? "ok" : std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
