#include "drivers/pci/hotplug.h"

#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace pollux::pci {
namespace {

constexpr size_t kMessageBytesMax = 8 << 10;  // The kernel's own limit is 2 KiB of variables.
constexpr int kReceiveBytes = 1 << 20;        // For the storm of a whole enclosure.
constexpr uint32_t kKernelGroup = 1;          // udev, in group 2, repeats what it heard.

std::optional<HotplugEvent::Action> ParseAction(std::string_view text) {
  using Action = HotplugEvent::Action;
  if (text == "add") return Action::kAdd;
  if (text == "remove") return Action::kRemove;
  if (text == "bind") return Action::kBind;
  if (text == "unbind") return Action::kUnbind;
  return std::nullopt;  // "change", "move", "online" ...
}

// The next string up to a zero byte or the end.
std::string_view TakeString(std::string_view& rest) {
  const size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view text = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return text;
}

}  // namespace

std::optional<HotplugEvent> ParseUevent(std::string_view message) {
  const std::string_view title = TakeString(message);
  if (title.find('@') == std::string_view::npos) return std::nullopt;
  std::optional<HotplugEvent::Action> action;
  std::optional<PciAddress> address;
  bool is_pci = false;
  HotplugEvent event;
  while (!message.empty()) {
    const std::string_view line = TakeString(message);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = line.substr(equals + 1);
    if (key == "ACTION") {
      action = ParseAction(value);
    } else if (key == "SUBSYSTEM") {
      is_pci = value == "pci";
    } else if (key == "PCI_SLOT_NAME") {
      const Result<PciAddress> parsed = ParsePciAddress(value);
      if (parsed.ok()) address = *parsed;
    } else if (key == "DRIVER") {
      event.driver = value;
    } else if (key == "PCI_CLASS") {
      std::from_chars(value.data(), value.data() + value.size(), event.class_code, 16);
    }
  }
  if (!action || !address || !is_pci) return std::nullopt;
  event.action = *action;
  event.address = *address;
  return event;
}

Result<std::unique_ptr<HotplugMonitor>> HotplugMonitor::Start() {
  UniqueFd fd(
      socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (!fd.valid() ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error_number = errno;
    return ErrorOfErrno(error_number, absl::StrFormat("cannot listen to the kernel's events: %s",
                                                      strerror(error_number)));
  }
  // As much as we may have; less is only lost sooner, and a loss is noticed.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBytes, sizeof(int)) != 0) {
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof(int));
  }
  return std::unique_ptr<HotplugMonitor>(new HotplugMonitor(std::move(fd)));
}

HotplugMonitor::Batch HotplugMonitor::Read() {
  Batch batch;
  std::array<char, kMessageBytesMax> message;
  for (;;) {
    sockaddr_nl sender{};
    socklen_t sender_bytes = sizeof(sender);
    const ssize_t count = recvfrom(fd_.get(), message.data(), message.size(), MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&sender), &sender_bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == ENOBUFS) {
      batch.lost = true;
      continue;
    }
    if (count < 0) return batch;
    // Any process may send to the group's port; only the kernel is number 0.
    if (sender.nl_pid != 0) continue;
    if (static_cast<size_t>(count) > message.size()) {
      batch.lost = true;
      continue;
    }
    std::optional<HotplugEvent> event = ParseUevent({message.data(), static_cast<size_t>(count)});
    if (event) batch.events.push_back(*std::move(event));
  }
}

}  // namespace pollux::pci
