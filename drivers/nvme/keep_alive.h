#pragma once
#include <cstdint>

#include "drivers/nvme/admin.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// Tells the device that we are there, twice in the time after which it would give us up. Base §3.9.
class KeepAlive final : public Request {
 public:
  explicit KeepAlive(AdminQueue& admin) : admin_(admin) {}

  void Start(uint64_t timeout_ns, uint64_t now_ns) {
    timeout_ns_ = timeout_ns;
    interval_ns_ = timeout_ns / 2;
    due_ns_ = now_ns + interval_ns_;
    failed_ = false;
  }
  void Stop() { interval_ns_ = 0; }
  int Step(uint64_t now_ns);
  // The device left one unanswered for as long as it would wait for us.
  bool Overdue(uint64_t now_ns) const {
    return interval_ns_ != 0 && out_ && now_ns - sent_ns_ >= timeout_ns_;
  }
  // Once, after the device refused one.
  bool TakeFailure(Completion& completion);

  void OnComplete(Completion completion) override;

 private:
  AdminQueue& admin_;
  uint64_t interval_ns_ = 0;  // 0: none.
  uint64_t timeout_ns_ = 0;
  uint64_t due_ns_ = 0, sent_ns_ = 0;
  bool out_ = false;
  bool failed_ = false;
  Completion failure_{};
};

}  // namespace pollux::nvme
