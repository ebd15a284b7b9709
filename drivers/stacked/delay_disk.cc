#include "drivers/stacked/delay_disk.h"

#include <atomic>
#include <utility>

#include "core/json_string.h"

namespace pollux {
namespace {

// Set by the control loop, read by the reactors.
class Latency {
 public:
  void Set(uint64_t avg_us, uint64_t p99_us) {
    avg_us_.store(avg_us, std::memory_order_relaxed);
    p99_us_.store(p99_us, std::memory_order_relaxed);
  }
  uint64_t avg_us() const { return avg_us_.load(std::memory_order_relaxed); }
  uint64_t p99_us() const { return p99_us_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> avg_us_{0}, p99_us_{0};
};

struct Delays {
  Latency read, write;
};

class DelayChannel final : public StackedChannel {
 public:
  DelayChannel(BlockDevice& device, Reactor& reactor, BlockChannel& base, const Delays& delays)
      : StackedChannel(device, reactor),
        base_(base),
        delays_(delays),
        random_(0x9e3779b97f4a7c15ull * (reactor.index() + 1)) {}

 private:
  // While it is delayed it is in delayed_ and its timer runs.
  struct Delayed final : Passage {
    class Alarm final : public Timer {
     public:
      explicit Alarm(Delayed& delayed) : delayed_(delayed) {}
      void OnTimer() override {
        static_cast<DelayChannel&>(ChannelOf(delayed_.request)).EndDelay(delayed_);
      }

     private:
      Delayed& delayed_;
    };

    explicit Delayed(IoRequest& r) : Passage(r) {}
    uint64_t delay_ns = 0;
    Alarm alarm{*this};
  };

  void DoSubmit(IoRequest& request) override {
    Delayed& delayed = Enter<Delayed>(request);
    delayed.delay_ns = PickNs(request.type);
    Forward(delayed, base_, request.lba, request.blocks);
  }

  void OnForwarded(Passage& passage, IoStatus status) override {
    auto& delayed = static_cast<Delayed&>(passage);
    if (delayed.delay_ns == 0 || removing_ || status == IoStatus::kAborted) {
      return End(delayed, status);
    }
    // The outcome waits in the request.
    delayed.request.status = status;
    delayed_.PushBack(delayed);
    reactor().ArmTimerIn(delayed.alarm, delayed.delay_ns);
  }

  void EndDelay(Delayed& delayed) {
    delayed_.Remove(delayed);
    End(delayed, delayed.request.status);
  }

  bool TryAbort(IoRequest& target) override {
    auto& delayed = PassageOf<Delayed>(target);
    if (!delayed.alarm.armed()) return StackedChannel::TryAbort(target);
    reactor().CancelTimer(delayed.alarm);
    delayed_.Remove(delayed);
    return End(delayed, IoStatus::kAborted), true;
  }

  // What goes need not be slow.
  void OnRemoving() override {
    removing_ = true;
    while (Passage* passage = delayed_.Front()) {
      auto& delayed = static_cast<Delayed&>(*passage);
      reactor().CancelTimer(delayed.alarm);
      EndDelay(delayed);
    }
  }

  uint64_t PickNs(IoType type) {
    if (type != IoType::kRead && type != IoType::kWrite) return 0;
    const Latency& latency = type == IoType::kRead ? delays_.read : delays_.write;
    // Marsaglia's xorshift.
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return (random_ % 100 == 0 ? latency.p99_us() : latency.avg_us()) * kNsPerUs;
  }

  BlockChannel& base_;
  const Delays& delays_;
  uint64_t random_;
  bool removing_ = false;
  IntrusiveList<Passage, &Passage::node> delayed_;
};

class DelayDisk final : public StackedDisk {
 public:
  DelayDisk(const DelayOptions& options, Uuid uuid, BlockDevice& base)
      : StackedDisk(options.name, kDelayProduct, base.geometry(), uuid, {&base}) {
    Set(options.latencies);
  }

  void Set(const DelayLatencies& latencies) {
    delays_.read.Set(latencies.avg_read_latency, latencies.p99_read_latency);
    delays_.write.Set(latencies.avg_write_latency, latencies.p99_write_latency);
  }
  uint64_t BlocksOverBases() const override { return base().geometry().blocks; }
  std::string DriverSpecificJson() const override {
    return absl::StrFormat(R"({"delay":{"name":%s,"base_bdev_name":%s,"avg_read_latency":%u,)"
                           R"("p99_read_latency":%u,"avg_write_latency":%u,)"
                           R"("p99_write_latency":%u}})",
                           JsonStringOfLatin1(name()), JsonStringOfLatin1(base().name()),
                           delays_.read.avg_us(), delays_.read.p99_us(), delays_.write.avg_us(),
                           delays_.write.p99_us());
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<DelayChannel>(*this, reactor, *base().channel(reactor.index()),
                                          delays_);
  }

  Delays delays_;
};

}  // namespace

Status CheckLatencies(const DelayLatencies& latencies) {
  const std::pair<const char*, uint64_t> all[] = {
      {"avg_read_latency", latencies.avg_read_latency},
      {"p99_read_latency", latencies.p99_read_latency},
      {"avg_write_latency", latencies.avg_write_latency},
      {"p99_write_latency", latencies.p99_write_latency}};
  for (const auto& [field, us] : all) {
    if (us > kDelayUsMax) {
      return InvalidField(field, us, "must be at most %u us, an hour", kDelayUsMax);
    }
  }
  return OkStatus();
}

Result<std::unique_ptr<StackedDisk>> MakeDelayDisk(const DelayOptions& options, BlockDevice& base) {
  if (options.name.empty()) return InvalidField("name", options.name, "must not be empty");
  RETURN_IF_ERROR(CheckLatencies(options.latencies));
  ASSIGN_OR_RETURN(const Uuid uuid, UuidGivenOrOver(options.uuid, base, kDelayProduct));
  return std::make_unique<DelayDisk>(options, uuid, base);
}

Status UpdateDelays(DeviceRegistry& devices, const std::string& name,
                    const DelayLatencies& latencies) {
  RETURN_IF_ERROR(CheckLatencies(latencies));
  ASSIGN_OR_RETURN(BlockDevice * disk, devices.FindKind(name, kDelayProduct));
  static_cast<DelayDisk*>(disk)->Set(latencies);
  return OkStatus();
}

}  // namespace pollux
