#include "cli/accel_perf/worker.h"

#include <utility>

#include "cli/tool/ticks.h"
#include "core/check.h"

namespace pollux::cli {
namespace {

// How many chains are begun in one turn, where they end at once.
constexpr size_t kBurst = 64;

}  // namespace

// Operations that follow one another, with their data.
class AccelWorker::Chain {
 public:
  Chain(AccelWorker& worker, uint32_t bytes, std::byte* memory, uint64_t seed)
      : worker_(worker), work_(bytes, memory, seed) {
    for (const AccelOpcode opcode : worker.options_.steps) {
      steps_.emplace_back(*this).opcode = opcode;
      if (steps_.size() > 1) steps_[steps_.size() - 2].then = &steps_.back();
    }
  }

  // Whether it has ended at once.
  bool Begin() {
    bool spoils = worker_.options_.verify;
    for (Step& step : steps_) {
      work_.Prepare(step);
      spoils = spoils && !ReadsResults(step.opcode);  // It could not be right any more.
      if (spoils) work_.Spoil(step);
    }
    began_ = Ticks();
    return worker_.channel_.Submit(steps_.front());
  }
  uint64_t began() const { return began_; }
  ListNode node;
  // Empty, or what went wrong.
  std::string Outcome() {
    for (const Step& step : steps_) {
      if (step.status != AccelStatus::kSuccess) {
        return absl::StrFormat("%s: %s", AccelOpcodeName(step.opcode),
                               AccelStatusName(step.status));
      }
    }
    if (!worker_.options_.verify) return {};
    for (const Step& step : steps_) {
      std::string wrong = work_.Check(step);
      if (!wrong.empty()) return absl::StrFormat("%s: %s", AccelOpcodeName(step.opcode), wrong);
    }
    return {};
  }

 private:
  struct Step final : AccelOperation {
    explicit Step(Chain& its_chain) : chain(its_chain) {}
    void OnComplete() override {
      --chain.worker_.in_flight_;
      chain.worker_.Account(chain);
    }
    Chain& chain;
  };
  AccelWorker& worker_;
  AccelWork work_;
  std::deque<Step> steps_;
  uint64_t began_ = 0;
};

class AccelWorker::Idle final : public IntrusiveList<Chain, &Chain::node> {};

AccelWorker::AccelWorker(const AccelPerfOptions& options, uint32_t bytes, AccelChannel& channel,
                         double ns_per_tick)
    : options_(options),
      bytes_(bytes),
      channel_(channel),
      ns_per_tick_(ns_per_tick),
      idle_(std::make_unique<Idle>()) {}

Result<std::unique_ptr<AccelWorker>> AccelWorker::Make(const AccelPerfOptions& options,
                                                       uint32_t bytes, AccelChannel& channel,
                                                       RegionRegistry& regions,
                                                       double ns_per_tick) {
  const uint64_t each = AccelWork::MemoryBytes(bytes);
  std::unique_ptr<AccelWorker> worker(new AccelWorker(options, bytes, channel, ns_per_tick));
  ASSIGN_OR_RETURN(worker->memory_, SharedPages::Map("accel-perf", each * options.depth,
                                                     /*huge=*/true, regions));
  for (uint32_t i = 0; i < options.depth; ++i) {
    worker->chains_.emplace_back(*worker, bytes, worker->memory_->address() + i * each,
                                 options.seed + i);
    worker->idle_->PushBack(worker->chains_.back());
  }
  return worker;
}

AccelWorker::~AccelWorker() {
  CHECK(in_flight_ == 0);
  while (idle_->PopFront() != nullptr) {
  }
}

void AccelWorker::Start() { reactor().AddPoller(*this); }
void AccelWorker::Stop() { reactor().RemovePoller(*this); }

int AccelWorker::Poll() {
  int begun = 0;
  while (!finishing_ && !idle_->empty() && begun < static_cast<int>(kBurst)) {
    if (options_.count_max > 0 && begun_ == options_.count_max) {
      finishing_ = true;
      break;
    }
    Chain& chain = *idle_->PopFront();
    ++begun_;
    ++begun;
    if (chain.Begin()) {
      Account(chain);
    } else {
      ++in_flight_;
    }
  }
  if (finishing_ && in_flight_ == 0) over_.store(true, std::memory_order_release);
  return begun;
}

void AccelWorker::Account(Chain& chain) {
  const auto ns =
      static_cast<uint64_t>(static_cast<double>(Ticks() - chain.began()) * ns_per_tick_);
  const std::string wrong = chain.Outcome();
  if (wrong.empty()) {
    meter_.Add(ns, bytes_);
    if (options_.verify) verified_.store(verified() + 1, std::memory_order_relaxed);
  } else {
    Fail(wrong);
  }
  idle_->PushBack(chain);
}

void AccelWorker::Fail(const std::string& what) {
  if (failures() == 0) first_failure_ = what;
  failures_.store(failures() + 1, std::memory_order_relaxed);
  finishing_ = true;  // A machine that computes wrongly is not measured.
}

}  // namespace pollux::cli
