#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/memory/memory.h"
#include "core/status.h"
#include "drivers/ioat/channel.h"
#include "drivers/ioat/ioat.h"
#include "drivers/pci/pci_device.h"

namespace pollux::ioat {

class IoatHost;

// An attached function with its channels. Control thread.
class IoatDevice {
 public:
  // A device that somebody opened. The host outlives it.
  IoatDevice(IoatHost& host, std::unique_ptr<pci::PciDevice> pci, const std::string& address,
             const pollux_ioat_attach_options& options);
  // No channel is taken.
  ~IoatDevice();

  // Waits until every channel has executed its first descriptor.
  Status Start();
  // Waits until every channel has stopped.
  Status Stop();
  // OK while it is there.
  Status Look();

  IoatHost& host() { return host_; }
  pci::PciDevice& pci() { return *pci_; }
  const pollux_ioat_device_info& info() const { return info_; }
  int event_fd() const { return pci_->removal_fd(); }
  Result<pollux_ioat_channel*> Take(int index);

 private:
  Status ReadCapabilities();
  Status MakeChannel(unsigned number);
  // Of one channel that nobody has taken.
  template <typename Done>
  Status PollUntil(IoatChannel& channel, const Done& done, const char* what);
  void ClearErrorInterrupt();

  IoatHost& host_;
  const std::unique_ptr<pci::PciDevice> pci_;
  const pollux_ioat_attach_options options_;
  pollux_ioat_device_info info_{};
  // Configuration space is reached by owners of channels too, after an error.
  std::mutex config_mutex_;
  std::atomic<bool> gone_{false};
  struct ChannelMemory {
    std::unique_ptr<SharedPages> pages;
    std::unique_ptr<pollux_ioat_channel> channel;
  };
  std::vector<ChannelMemory> channels_;
};

}  // namespace pollux::ioat

struct pollux_ioat_device final : pollux::ioat::IoatDevice {
  using IoatDevice::IoatDevice;
};
