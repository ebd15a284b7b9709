#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/loop.h"
#include "core/method_call.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/ioat/ioat.h"

namespace pollux {

class IoatLane;

// One I/OAT device, from its attach to its release: its channels, each tested, and who looks after
// it meanwhile. Control loop only.
//
//   kConnecting --Connect()--> kReady --BeginLeaving()--> kLeaving --Disconnect()--> released
//        +------------------- refused, cancelled --------------^
class IoatAttachment {
 public:
  class Owner {
   public:
    // It was ready, and is unplugged, or its peer has died. Once.
    virtual void OnGone(IoatAttachment& attachment, Status why) = 0;

   protected:
    ~Owner() = default;
  };
  enum class State : uint8_t { kConnecting, kReady, kLeaving };
  struct Place {
    std::string name;  // "0000:00:04.0 channel 1"
    pollux_ioat_channel* channel;
    std::string fault;         // Of its test; it is then not used. Empty: it has passed.
    IoatLane* lane = nullptr;  // That has it.
  };

  using AttachBegin = std::function<int(pollux_ioat_host*, const char* address,
                                        const pollux_ioat_attach_options*, pollux_ioat_device**)>;

  // The host outlives it.
  IoatAttachment(Loop& control, pollux_ioat_host* host, const AttachBegin& attach_begin,
                 std::string address, Owner& owner);
  ~IoatAttachment();  // After Disconnect().

  // Errors as IoatDevices::Attach has them. Disconnect() follows in any case, at last.
  Task<Status> Connect();
  // Connect() ends soon, with ECANCELED.
  void Cancel();
  void BeginLeaving();
  // No lane has any of its channels.
  Task<void> Disconnect();

  const std::string& address() const { return address_; }
  State state() const { return state_; }
  std::vector<Place>& places() { return places_; }
  const pollux_ioat_device_info& info() const { return *pollux_ioat_get_device_info(device_); }

 private:
  Task<Status> TestChannels();
  Status Failure() const;
  void Look();
  void Tick();
  void ArmTicker();

  Loop& control_;
  pollux_ioat_host* const host_;
  const AttachBegin& attach_begin_;
  const std::string address_;
  Owner& owner_;
  State state_ = State::kConnecting;
  bool cancelled_ = false;
  pollux_ioat_device* device_ = nullptr;
  int event_fd_ = -1;
  std::vector<Place> places_;
  Event looked_;  // Pulsed with each look at the device.
  TimerCall<IoatAttachment, &IoatAttachment::Tick> ticker_{*this};
  ReadyCall<IoatAttachment, &IoatAttachment::Look> waker_{*this};
};

}  // namespace pollux
