#include "core/block/queue_depths.h"

#include <algorithm>
#include <utility>

#include "core/run_on.h"

namespace pollux {

class QueueDepths::Sampling final : public Timer {
 public:
  Sampling(QueueDepths& depths, std::string name, uint64_t period_us)
      : depths_(depths),
        name_(std::move(name)),
        period_ns_(std::max(period_us, kPeriodMinUs) * kNsPerUs),
        last_ns_(depths.control_.NowNs()) {
    sampled_.period_us = period_us;
    depths_.control_.ArmTimer(*this, last_ns_ + period_ns_);
  }
  ~Sampling() { depths_.control_.CancelTimer(*this); }

  // The depth holds for the time since the last one. The next look begins when this one has ended,
  // so that a busy reactor is not asked twice.
  void Add(uint64_t depth) {
    const uint64_t now_ns = depths_.control_.NowNs();
    const uint64_t passed_us = (now_ns - last_ns_) / kNsPerUs;
    last_ns_ += passed_us * kNsPerUs;
    sampled_.queue_depth = depth;
    if (depth > 0) sampled_.io_time_us += passed_us;
    sampled_.weighted_io_time_us += passed_us * depth;
    depths_.control_.ArmTimer(*this, now_ns + period_ns_);
  }
  const Sampled& sampled() const { return sampled_; }

 private:
  void OnTimer() override { depths_.spawn_(depths_.Look(name_)); }

  QueueDepths& depths_;
  const std::string name_;
  const uint64_t period_ns_;
  uint64_t last_ns_;
  Sampled sampled_;
};

QueueDepths::QueueDepths(Loop& control, DeviceRegistry& devices, Spawn spawn)
    : control_(control), devices_(devices), spawn_(std::move(spawn)) {}

QueueDepths::~QueueDepths() = default;

Status QueueDepths::Set(const std::string& name, uint64_t period_us) {
  ASSIGN_OR_RETURN(const BlockDevice* device, devices_.Find(name));
  if (period_us > UINT64_MAX / kNsPerSecond) {
    return InvalidField("period", period_us, "at most %u us", UINT64_MAX / kNsPerSecond);
  }
  samplings_.erase(device->name());
  if (period_us == 0) return OkStatus();
  samplings_[device->name()] = std::make_unique<Sampling>(*this, device->name(), period_us);
  return OkStatus();
}

void QueueDepths::Stop() { samplings_.clear(); }

void QueueDepths::OnUnregistered(const std::string& name) { samplings_.erase(name); }

const QueueDepths::Sampled* QueueDepths::Of(const std::string& name) const {
  const auto found = samplings_.find(name);
  return found == samplings_.end() ? nullptr : &found->second->sampled();
}

Task<void> QueueDepths::Look(std::string name) {
  const auto before = samplings_.find(name);
  const Sampling* const wanted = before == samplings_.end() ? nullptr : before->second.get();
  uint64_t depth = 0;
  for (auto& reactor : devices_.reactors()) {
    // Looked up for each, since the device may go during a wait.
    const Result<BlockDevice*> device = devices_.Find(name);
    if (!device.ok()) co_return;
    auto count = [channel = (*device)->channel(reactor->index())] {
      return uint64_t{channel->in_flight() + channel->loans()};
    };
    depth += co_await RunOn(*reactor, count);
  }
  // It may have been set anew meanwhile, or not be wanted any more.
  const auto found = samplings_.find(name);
  if (found != samplings_.end() && found->second.get() == wanted) found->second->Add(depth);
}

}  // namespace pollux
