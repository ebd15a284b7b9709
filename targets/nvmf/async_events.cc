#include "targets/nvmf/async_events.h"

#include <utility>

#include "core/check.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/queue.h"

namespace pollux::nvmf {
namespace {

// By Kind. Figures 150, 291
struct Fact {
  uint32_t enable_bit;
  uint32_t information;
  uint8_t log_page;
};
constexpr Fact kFacts[AsyncEvents::kKinds] = {
    {nvme::async_event::kEnableNamespaceAttribute, nvme::async_event::kNoticeNamespaceChanged,
     nvme::log_page::kChangedNamespaces},
    {nvme::async_event::kEnableAnaChange, nvme::async_event::kNoticeAnaChanged,
     nvme::log_page::kAna},
    {nvme::async_event::kEnableDiscoveryChange, nvme::async_event::kNoticeDiscoveryChanged,
     nvme::log_page::kDiscovery},
};

uint32_t CompletionDw0(const Fact& fact) {
  uint32_t dw0 = 0;
  dw0 = nvme::async_event::kType.Set(dw0, nvme::async_event::kNotice);
  dw0 = nvme::async_event::kInformation.Set(dw0, fact.information);
  dw0 = nvme::async_event::kLogPage.Set(dw0, fact.log_page);
  return dw0;
}

}  // namespace

AsyncEvents::~AsyncEvents() { CHECK(requests_.empty(), "event requests outlive their controller"); }

void AsyncEvents::Enable(uint32_t bits) {
  for (size_t kind = 0; kind < kKinds; ++kind) {
    states_[kind].enabled = (bits & kFacts[kind].enable_bit) != 0;
  }
  Tell();
}

void AsyncEvents::Request(Execution& execution) {
  if (requests_.size() == kRequestsMax) {
    return execution.End(nvme::status::kAsyncEventLimitExceeded | nvme::status::kDnrBit);
  }
  requests_.push_back(&execution);
  execution.handlers_own = this;
  execution.Await([](Execution& e) { static_cast<AsyncEvents*>(e.handlers_own)->Withdraw(e); });
  Tell();
}

void AsyncEvents::Withdraw(Execution& execution) {
  if (std::erase(requests_, &execution) == 0) return;
  const bool closing = execution.queue().state() == Queue::State::kClosing;
  execution.End(closing ? nvme::status::kAbortedSqDeletion : nvme::status::kAbortRequested);
}

void AsyncEvents::Raise(Kind kind) {
  State& state = states_[static_cast<size_t>(kind)];
  if (!state.told) state.raised = true;
  Tell();
}

void AsyncEvents::OnLogRead(uint8_t log_page) {
  for (size_t kind = 0; kind < kKinds; ++kind) {
    if (kFacts[kind].log_page == log_page) states_[kind].raised = states_[kind].told = false;
  }
}

void AsyncEvents::EndRequests(uint16_t status) {
  // What an end leads to may bring new requests: those stay.
  for (Execution* execution : std::exchange(requests_, {})) execution->End(status);
}

void AsyncEvents::Reset() { states_ = {}; }

void AsyncEvents::Tell() {
  for (size_t kind = 0; kind < kKinds && !requests_.empty(); ++kind) {
    State& state = states_[kind];
    if (!state.enabled || !state.raised) continue;
    state.raised = false;
    state.told = true;
    Execution* const oldest = requests_.front();
    requests_.erase(requests_.begin());
    oldest->EndSuccess(CompletionDw0(kFacts[kind]));
  }
}

}  // namespace pollux::nvmf
