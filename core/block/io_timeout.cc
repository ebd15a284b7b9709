#include "core/block/io_timeout.h"

#include <algorithm>
#include <functional>

#include "core/block/block_channel.h"
#include "core/block/block_device.h"
#include "core/block/device_registry.h"
#include "core/block/rate_gate.h"
#include "core/log.h"

namespace pollux {
namespace {

// A request is found at most an eighth of its time late.
constexpr uint64_t kLooksPerTimeout = 8;
constexpr uint64_t kPeriodMaxNs = kNsPerSecond;

// Tells the registry, on its loop. It may come when the device is gone already.
class LateIo final : public Message {
 public:
  LateIo(DeviceRegistry& devices, std::string name) : devices_(devices), name_(std::move(name)) {}
  void Run() override {
    devices_.OnTimedOut(name_);
    delete this;
  }

 private:
  DeviceRegistry& devices_;
  const std::string name_;
};

// A reset that nobody waits for.
class LateReset final : public IoRequest {
 public:
  LateReset() { type = IoType::kReset; }
  void OnComplete() override { delete this; }
};

}  // namespace

Task<Status> SetIoTimeout(DeviceRegistry& devices, std::string name, IoTimeout timeout) {
  const std::function<void(BlockChannel&)> set = [timeout, &devices,
                                                  home = Loop::Current()](BlockChannel& channel) {
    channel.SetTimeout(timeout, devices, *home);
  };
  co_return co_await devices.OnEachChannel(std::move(name), set);
}

IoTimeoutWatch::IoTimeoutWatch(BlockChannel& channel, IoTimeout timeout, DeviceRegistry& devices,
                               Loop& home)
    : channel_(channel),
      timeout_(timeout),
      devices_(devices),
      home_(home),
      period_ns_(std::clamp<uint64_t>(timeout.after_ns / kLooksPerTimeout, 1, kPeriodMaxNs)) {
  channel_.reactor().ArmTimerIn(*this, period_ns_);
}

IoTimeoutWatch::~IoTimeoutWatch() { channel_.reactor().CancelTimer(*this); }

void IoTimeoutWatch::OnTimer() {
  const uint64_t now_ns = channel_.reactor().NowNs();
  channel_.reactor().ArmTimer(*this, now_ns + period_ns_);
  if (now_ns < timeout_.after_ns) return;
  const uint64_t late_ns = now_ns - timeout_.after_ns;
  // Only what is late makes it allocate.
  const std::vector<IoRequest*> late = Look(late_ns);
  told_ns_ = late_ns;
  if (late.empty()) return;
  Report(late, now_ns);
  Act(late);
}

// At all of them: one that was held back is older than its place in the list says.
std::vector<IoRequest*> IoTimeoutWatch::Look(uint64_t late_ns) const {
  std::vector<IoRequest*> late;
  const auto see = [&](IoRequest& request) {
    const uint64_t submitted_ns = request.submitted_ns();
    if (submitted_ns <= late_ns && submitted_ns > told_ns_) late.push_back(&request);
  };
  for (BlockChannel::RequestList* list : {&channel_.in_flight_, &channel_.held_}) {
    for (IoRequest* r = list->Front(); r != nullptr; r = list->Next(*r)) see(*r);
  }
  if (channel_.rate_gate_ != nullptr) channel_.rate_gate_->ForEach(see);
  return late;
}

void IoTimeoutWatch::Report(const std::vector<IoRequest*>& late, uint64_t now_ns) {
  const auto older = [](const IoRequest* a, const IoRequest* b) {
    return a->submitted_ns() < b->submitted_ns();
  };
  const IoRequest& oldest = **std::min_element(late.begin(), late.end(), older);
  const std::string& name = channel_.device_.name();
  LogWarning("block",
             "%s: %d I/Os on %s take longer than %d ms; the oldest, a %s of %d blocks at %d, has "
             "taken %d ms",
             name, late.size(), channel_.reactor().name(), timeout_.after_ns / kNsPerMs,
             IoTypeName(oldest.type), oldest.blocks, oldest.lba,
             (now_ns - oldest.submitted_ns()) / kNsPerMs);
  channel_.CountTimedOut(late.size());
  home_.Post(*new LateIo(devices_, name));
}

// Nothing dies meanwhile: what is stopped is told so later in this turn.
void IoTimeoutWatch::Act(const std::vector<IoRequest*>& late) {
  switch (timeout_.action) {
    case IoTimeout::Action::kNone:
      return;
    case IoTimeout::Action::kAbort:
      for (IoRequest* request : late) {
        if (request->type != IoType::kReset) channel_.Stop(*request);
      }
      return;
    case IoTimeout::Action::kReset:
      if (!channel_.resetting_) channel_.Submit(*new LateReset);
      return;
  }
}

}  // namespace pollux
