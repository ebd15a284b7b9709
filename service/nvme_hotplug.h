#pragma once
#include <cstdint>
#include <set>
#include <string>

#include "core/task.h"
#include "core/timer_queue.h"

namespace pollux::service {

class Appliance;

// Attaches NVMe devices of the PCI bus when they appear, as "HotInNvme0", "HotInNvme1" and so on:
// those that are bound to vfio-pci and that nothing configured has. One that was detached by hand
// is left alone until it was unplugged. They are not saved: while this is on, they are found again.
class NvmeHotplug final : public Timer {
 public:
  explicit NvmeHotplug(Appliance& appliance) : appliance_(appliance) {}
  ~NvmeHotplug();  // After Stop().

  // Looks every `period_us` from now on.
  void Start(uint64_t period_us);
  void Stop();

 private:
  void OnTimer() override;
  Task<void> Attach(std::string address);
  std::string UnusedName() const;

  Appliance& appliance_;
  uint64_t period_us_ = 0;
  std::set<std::string> known_;  // Addresses that were there at the last look.
};

}  // namespace pollux::service
