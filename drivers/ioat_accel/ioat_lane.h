#pragma once
#include <atomic>
#include <cstdint>

#include "core/accel/accel_channel.h"
#include "core/accel/accel_module.h"
#include "core/loop.h"
#include "core/method_call.h"
#include "core/reactors.h"
#include "drivers/ioat/ioat.h"

namespace pollux {

// What one reactor has of the I/OAT devices: a channel, or none. Made and destroyed on the control
// loop, otherwise touched by its reactor alone.
//
//   kEmpty --Open()--> kOpen --Close()--> kClosing --drained, Empty()--> kEmpty
class IoatLane final : public AccelModuleChannel, private Poller {
 public:
  // Who hands out the channels. Called on the control loop.
  class Keeper {
   public:
    // The channel of a lane has gone out of service, for good.
    virtual void OnOutOfService() = 0;

   protected:
    ~Keeper() = default;
  };

  IoatLane(AccelChannel& channel, Reactor& reactor, Loop& control, Keeper& keeper)
      : AccelModuleChannel(channel), reactor_(reactor), control_(control), keeper_(keeper) {}
  ~IoatLane() override;  // Empty.

  Reactor& reactor() const { return reactor_; }
  // As it was at the last poll. Any thread.
  pollux_ioat_state channel_state() const { return seen_.load(std::memory_order_relaxed); }

  // --- On the reactor.
  void Open(pollux_ioat_channel& channel);
  // Nothing new is taken from now on.
  void Close() { closing_ = true; }
  bool drained() const { return pollux_ioat_channel_idle(channel_); }
  void Empty();
  void set_bytes_min(uint32_t bytes) { bytes_min_ = bytes; }

  bool TryBegin(AccelOperation& operation) override;

 private:
  struct Request;
  // Tells the keeper, once in the life of a channel.
  class Notice final : public Message {
   public:
    explicit Notice(IoatLane& lane) : lane_(lane) {}
    void Run() override;

   private:
    IoatLane& lane_;
  };

  int Submit(Request& request, AccelOperation& operation);
  static void OnComplete(pollux_ioat_request* request, pollux_ioat_completion completion);
  void Ring() { pollux_ioat_channel_ring(channel_); }
  const char* name() const override { return "ioat"; }
  int Poll() override;
  bool MayBlock() override;

  Reactor& reactor_;
  Loop& control_;
  Keeper& keeper_;
  pollux_ioat_channel* channel_ = nullptr;
  bool closing_ = false;
  uint32_t bytes_min_ = 0;
  std::atomic<pollux_ioat_state> seen_{POLLUX_IOAT_STATE_RUNNING};
  std::atomic<bool> notice_under_way_{false};
  Notice notice_{*this};
  DeferredCall<IoatLane, &IoatLane::Ring> ringer_{*this};
};

}  // namespace pollux
