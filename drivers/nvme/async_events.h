#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// Keeps Asynchronous Event Requests with the device, and what they brought until somebody takes it.
// Base §5.2. A device that reports without end is heard kEventsPerSecond times a second.
class AsyncEvents {
 public:
  static constexpr size_t kRequests = 4;
  static constexpr size_t kPendingMax = 16;
  static constexpr uint32_t kEventsPerSecond = 64;

  explicit AsyncEvents(AdminQueue& admin);

  // The device takes `limit` requests at a time (AERL).
  void Start(uint32_t limit);
  // No more are sent; those that are out end as the queue is drained.
  void Stop() { limit_ = 0; }
  // Sends what is missing. Returns how many.
  int Step(uint64_t now_ns);

  bool empty() const { return pending_.empty(); }
  // Dword 0 of the next event's completion.
  uint32_t Take();

  // Of Set Features, Asynchronous Event Configuration: what we want of what the device can. A
  // discovery controller knows its own notice alone, and may refuse all when more is asked for.
  static uint32_t Configuration(uint32_t oaes, bool discovery);
  // What the event means to the user, without nsid; its `text` is a literal.
  static pollux_nvme_event Describe(uint32_t dw0);
  // Whether reading the page is ours: until it is read the device keeps silent about the like
  // (§5.2). Lists that are lost by reading are the user's.
  static bool DriverReads(uint32_t dw0);

 private:
  class Asking final : public Request {
   public:
    void OnComplete(Completion completion) override;
    AsyncEvents* events = nullptr;
    bool out = false;
    bool refused = false;
  };

  AdminQueue& admin_;
  std::array<Asking, kRequests> requests_;
  uint32_t limit_ = 0;
  std::deque<uint32_t> pending_;
  uint64_t second_began_ns_ = 0;
  uint32_t this_second_ = 0;
};

}  // namespace pollux::nvme
