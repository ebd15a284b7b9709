#include "drivers/nvme/keep_alive.h"

namespace pollux::nvme {

int KeepAlive::Step(uint64_t now_ns) {
  if (interval_ns_ == 0 || out_ || now_ns < due_ns_) return 0;
  SubmissionEntry entry;
  entry.opc = admin::kKeepAlive;
  if (admin_.Submit(*c(), entry, nullptr, 0) != 0) return 0;  // Full: at the next poll.
  out_ = true;
  sent_ns_ = now_ns;
  due_ns_ = now_ns + interval_ns_;
  return 1;
}

void KeepAlive::OnComplete(Completion completion) {
  out_ = false;
  if (pollux_nvme_ok(completion) || interval_ns_ == 0) return;
  failed_ = true;
  failure_ = completion;
}

bool KeepAlive::TakeFailure(Completion& completion) {
  if (!failed_) return false;
  failed_ = false;
  completion = failure_;
  return true;
}

}  // namespace pollux::nvme
