#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/pci_address.h"

namespace pollux::pci {

// What happened to a PCI function.
struct HotplugEvent {
  enum class Action { kAdd, kRemove, kBind, kUnbind };
  Action action = Action::kAdd;
  PciAddress address;
  std::string driver;       // With kBind: its new one. Often empty.
  uint32_t class_code = 0;  // 0x010802 is NVMe. 0: not told.
};

// A message of the kernel, or nullopt when it is about something else, or is no such message.
// "ACTION@DEVPATH", then KEY=VALUE, each ended by a zero byte.
std::optional<HotplugEvent> ParseUevent(std::string_view message);

// The kernel's uevents about PCI functions, from netlink. In a container, only those of the host's
// network namespace are sent: without them nobody says anything. The thread's that made it.
class HotplugMonitor {
 public:
  static Result<std::unique_ptr<HotplugMonitor>> Start();

  // Readable when Read() has something to say.
  int fd() const { return fd_.get(); }

  struct Batch {
    std::vector<HotplugEvent> events;
    // Some were lost: whoever follows looks at everything anew.
    bool lost = false;
  };
  // All that is there. Never waits.
  Batch Read();

 private:
  explicit HotplugMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace pollux::pci
