#include "core/reactors.h"

namespace pollux {

Result<std::unique_ptr<Reactors>> Reactors::MakeStill(const Options& options, const Clock& clock) {
  if (options.cores.empty() || options.cores.size() > kReactorsMax) {
    return InvalidField("-m", options.cores.size(), "between 1 and %d cores", kReactorsMax);
  }
  auto reactors = std::make_unique<Reactors>();
  for (size_t i = 0; i < options.cores.size(); ++i) {
    ASSIGN_OR_RETURN(std::unique_ptr<Waiter> waiter, MakeEpollWaiter());
    Loop::Options loop{.name = absl::StrFormat("reactor_%d", options.cores[i]),
                       .idle_after_ns = options.idle_after_ns,
                       .core = options.cores[i]};
    reactors->reactors_.push_back(
        std::make_unique<Reactor>(i, std::move(loop), clock, std::move(waiter)));
  }
  return reactors;
}

Result<std::unique_ptr<Reactors>> Reactors::Start(const Options& options, const Clock& clock) {
  ASSIGN_OR_RETURN(std::unique_ptr<Reactors> reactors, MakeStill(options, clock));
  for (auto& reactor : *reactors) reactor->StartThread();
  return reactors;
}

Reactors::~Reactors() { Stop(); }

void Reactors::Stop() {
  for (auto& reactor : reactors_) reactor->Stop();
  for (auto& reactor : reactors_) reactor->StopThread();
}

}  // namespace pollux
