#include "core/block/io_traces.h"

#include <utility>

#include "core/check.h"
#include "core/run_on.h"

namespace pollux {

IoTraces::IoTraces(Reactors& reactors) : reactors_(reactors), per_reactor_(reactors.size()) {}

IoTraces::~IoTraces() = default;

Task<void> IoTraces::Keep(size_t requests) {
  const Turn::Holder held = co_await turn_.Take();
  for (size_t i = 0; i < per_reactor_.size(); ++i) {
    PerReactor& mine = per_reactor_[i];
    auto trace = requests == 0 ? nullptr : std::make_unique<IoTrace>(requests);
    auto change = [&mine, next = trace.get()] {
      mine.current = next;
      for (IoWatch* watch = mine.watches.Front(); watch != nullptr;
           watch = mine.watches.Next(*watch)) {
        watch->SetTrace(next);
      }
    };
    co_await RunOn(reactors_[i], change);
    mine.trace = std::move(trace);  // The old one, which nobody writes now, dies.
  }
}

size_t IoTraces::capacity() const {
  const std::unique_ptr<IoTrace>& first = per_reactor_.front().trace;
  return first == nullptr ? 0 : first->capacity();
}

std::vector<std::vector<TracedIo>> IoTraces::Last(size_t count) const {
  std::vector<std::vector<TracedIo>> result;
  for (const PerReactor& one : per_reactor_) {
    result.push_back(one.trace == nullptr ? std::vector<TracedIo>() : one.trace->Last(count));
  }
  return result;
}

void IoTraces::Gone(uint32_t device) {
  gone_.push_back(device);
  if (gone_.size() <= kGoneMax) return;
  names_.erase(gone_.front());
  gone_.pop_front();
}

std::string IoTraces::NameOf(uint32_t device) const {
  const auto found = names_.find(device);
  return found == names_.end() ? std::string() : found->second;
}

void IoTraces::Join(Reactor& reactor, IoWatch& watch) {
  PerReactor& here = per_reactor_[reactor.index()];
  here.watches.PushBack(watch);
  watch.SetTrace(here.current);
}

void IoTraces::Leave(Reactor& reactor, IoWatch& watch) {
  per_reactor_[reactor.index()].watches.Remove(watch);
}

}  // namespace pollux
