#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/block/io_request.h"
#include "core/loop.h"
#include "core/task.h"

namespace pollux {

class BlockChannel;
class DeviceRegistry;

// When an I/O of a device has taken too long, and what is done then beside saying so.
struct IoTimeout {
  enum class Action : uint8_t {
    kNone,
    kAbort,  // It is aborted, where that can be done.
    kReset,  // The channel is reset.
  };
  uint64_t after_ns = 0;  // 0: never.
  Action action = Action::kNone;
};

// On every reactor. ENODEV when there is no such device.
Task<Status> SetIoTimeout(DeviceRegistry& devices, std::string name, IoTimeout timeout);

// Looks at the requests of one channel now and then, those that are held back among them, and calls
// none late twice. Loans are left alone: how long one takes is up to the borrower's peer. Of the
// channel's reactor.
class IoTimeoutWatch final : public Timer {
 public:
  // What is found is told to `devices` on `home`; both outlive the channel.
  IoTimeoutWatch(BlockChannel& channel, IoTimeout timeout, DeviceRegistry& devices, Loop& home);
  ~IoTimeoutWatch();

 private:
  void OnTimer() override;
  // Those that were submitted until `late_ns` and were not called late before.
  std::vector<IoRequest*> Look(uint64_t late_ns) const;
  void Report(const std::vector<IoRequest*>& late, uint64_t now_ns);
  void Act(const std::vector<IoRequest*>& late);

  BlockChannel& channel_;
  const IoTimeout timeout_;
  DeviceRegistry& devices_;
  Loop& home_;
  const uint64_t period_ns_;
  uint64_t told_ns_ = 0;  // What was submitted until here has been called late.
};

}  // namespace pollux
