#include "core/accel/accel.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/run_on.h"

namespace pollux {

class Accel::Software final : public AccelModule {
 public:
  std::string_view name() const override { return "software"; }
  bool Executes(AccelOpcode) const override { return true; }
  AccelModuleChannel* channel(const Reactor&) override { return nullptr; }
};

Accel::Accel(Reactors& reactors) : reactors_(reactors), software_(std::make_unique<Software>()) {
  for (auto& reactor : reactors) channels_.push_back(std::make_unique<AccelChannel>(*reactor));
  assigned_.fill(software_.get());
  Add(*software_, Use::kPreferred);
}

Accel::~Accel() { CHECK(!changing_.taken()); }

void Accel::Add(AccelModule& module, Use use) {
  CHECK(modules_.size() < AccelCounters::kModulesMax, "more accel modules than are counted");
  for (auto& reactor : reactors_) {
    if (AccelModuleChannel* const channel = module.channel(*reactor)) {
      channel->slot_ = static_cast<uint8_t>(modules_.size());
    }
  }
  modules_.push_back(&module);
  if (use == Use::kPreferred) preferred_.insert(preferred_.begin(), &module);
}

Task<Status> Accel::Assign(AccelOpcode opcode, std::string module) {
  const auto found = std::find_if(modules_.begin(), modules_.end(),
                                  [&](const AccelModule* one) { return one->name() == module; });
  if (found == modules_.end()) {
    co_return ErrorOfField(ENOENT, "module", module, "there is no such accel module");
  }
  if (!(*found)->Executes(opcode)) {
    co_return ErrorOfField(ENOTSUP, "module", module,
                           absl::StrFormat("it cannot do %s", AccelOpcodeName(opcode)));
  }
  wanted_[static_cast<size_t>(opcode)] = *found;
  co_await Update();
  co_return OkStatus();
}

AccelModule& Accel::Choose(AccelOpcode opcode) const {
  if (AccelModule* const wanted = wanted_[static_cast<size_t>(opcode)]) return *wanted;
  for (AccelModule* const module : preferred_) {
    if (module->Available(opcode)) return *module;
  }
  return *software_;
}

Task<void> Accel::Update() {
  const Turn::Holder held = co_await changing_.Take();
  for (int i = 0; i < kAccelOpcodeCount; ++i) {
    assigned_[static_cast<size_t>(i)] = &Choose(static_cast<AccelOpcode>(i));
  }
  auto step = [this](Reactor& reactor) {
    AccelChannel& channel = *channels_[reactor.index()];
    for (size_t i = 0; i < assigned_.size(); ++i) {
      channel.assigned_[i] = assigned_[i]->channel(reactor);
    }
  };
  co_await reactors_.ForEach(step);
}

AccelStatistics Accel::statistics() const {
  const auto read = [](const std::atomic<uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  AccelStatistics sum;
  for (const auto& channel : channels_) {
    const AccelCounters& counters = channel->counters();
    sum.chains_executed += read(counters.chains_executed);
    sum.chains_failed += read(counters.chains_failed);
    sum.chains_outstanding += read(counters.chains_outstanding);
    sum.operations_outstanding += read(counters.operations_outstanding);
    sum.given_back += read(counters.given_back);
  }
  for (size_t opcode = 0; opcode < kAccelOpcodeCount; ++opcode) {
    for (size_t module = 0; module < modules_.size(); ++module) {
      AccelOperationStatistics one{.opcode = static_cast<AccelOpcode>(opcode),
                                   .module = modules_[module]->name()};
      for (const auto& channel : channels_) {
        const AccelCounters::PerOpcode& from = channel->counters().operations[opcode][module];
        one.executed += read(from.executed);
        one.bytes += read(from.bytes);
        one.failed += read(from.failed);
      }
      if (one.executed + one.failed > 0) sum.operations.push_back(one);
    }
  }
  return sum;
}

}  // namespace pollux
