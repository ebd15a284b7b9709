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

// A function with its channels. Control thread.
//
//   kAttaching --> kReady ---------------------+--Detach()--> kDetaching --> kDetached
//      |  |                                    |
//      |  +--> kFailed ------------------------+
//      +--------> kGone <-- kReady ------------+
//
// Nothing of that waits: Poll() lets the channels that are nobody's take their next step, and each
// of their states has a deadline. The owner of a channel polls it himself, in kReady and kGone.
class IoatDevice {
 public:
  // A device that somebody opened. The host outlives it.
  IoatDevice(IoatHost& host, std::unique_ptr<pci::PciDevice> pci, const std::string& address,
             const pollux_ioat_attach_options& options);
  // No channel is taken.
  ~IoatDevice();

  // Begins to start its channels. On error it was never attached.
  Status Start();
  // Begins to stop them; none is taken.
  Status Detach();
  // OK, or why it is of no use.
  Status Poll();

  enum pollux_ioat_device_state state() const { return state_; }
  const Status& failure() const { return failure_; }
  bool polling() const { return polling_; }

  IoatHost& host() { return host_; }
  pci::PciDevice& pci() { return *pci_; }
  const pollux_ioat_device_info& info() const { return info_; }
  int event_fd() const { return pci_->removal_fd(); }
  Result<pollux_ioat_channel*> Take(int index);

 private:
  Status ReadCapabilities();
  Status MakeChannel(unsigned number);
  void StepAttaching();
  void StepDetaching();
  void Look();
  void ClearErrorInterrupt();

  IoatHost& host_;
  const std::unique_ptr<pci::PciDevice> pci_;
  const pollux_ioat_attach_options options_;
  pollux_ioat_device_info info_{};
  enum pollux_ioat_device_state state_ = POLLUX_IOAT_DEVICE_ATTACHING;
  Status failure_;
  bool polling_ = false;
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
