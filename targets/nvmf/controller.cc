#include "targets/nvmf/controller.h"

#include <utility>

#include "core/run_on.h"
#include "targets/nvmf/await_task.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

using namespace nvme::status;

Controller::Controller(Queue& admin_queue, SubsystemView& view,
                       std::shared_ptr<const ControllerIdentity> identity, uint32_t kato_ms)
    : queue_(admin_queue),
      view_(view),
      identity_(std::move(identity)),
      properties_(admin_queue.limits().io_depth_max, identity_->discovery),
      features_(admin_queue.limits().io_queues_max),
      visible_(view.facts().namespaces_max + 1),
      keep_alive_(admin_queue.worker().reactor(), *this) {
  const std::string& host = identity_->hostnqn;
  for (uint32_t nsid = 0; (nsid = view_.NextVisible(nsid, host)) != 0;) visible_[nsid] = true;
  SetKeepAlive(kato_ms);
}

Controller::~Controller() = default;

Controller& Controller::Of(Execution& execution) { return *execution.queue().controller_; }

void Controller::Start(Execution& execution) {
  keep_alive_.Heard();
  const uint8_t opcode = execution.entry().opc;
  if (opcode == nvme::admin::kFabrics) return StartFabrics(execution);
  if (!ready()) return execution.End(kCommandSequenceError | kDnrBit);
  switch (opcode) {
    case nvme::admin::kGetLogPage:
      return GetLogPage(execution);
    case nvme::admin::kIdentify:
      return Identify(execution);
    case nvme::admin::kAbort:
      return StartAbort(execution);
    case nvme::admin::kSetFeatures:
      return SetFeatures(execution);
    case nvme::admin::kGetFeatures:
      return GetFeatures(execution);
    case nvme::admin::kAsyncEventRequest:
      return events_.Request(execution);
    case nvme::admin::kKeepAlive:
      return execution.EndSuccess();
  }
  execution.End(kInvalidOpcode | kDnrBit);
}

void Controller::OnEvent(SubsystemEvent event, uint32_t subject) {
  switch (event) {
    case SubsystemEvent::kNamespaceChanged: {
      const uint32_t nsid = subject;
      if (!IsValidNsid(nsid)) return;
      const bool visible = FindVisible(nsid) != nullptr;
      // The host does not hear of what it neither saw nor sees.
      if (!visible && !visible_[nsid]) return;
      visible_[nsid] = visible;
      changed_namespaces_.Add(nsid);
      return events_.Raise(AsyncEvents::Kind::kNamespaceAttribute);
    }
    case SubsystemEvent::kAnaChanged:
      if (subject != 0 && subject != identity_->listener_id) return;
      return events_.Raise(AsyncEvents::Kind::kAnaChange);
    case SubsystemEvent::kDiscoveryChanged:
      return events_.Raise(AsyncEvents::Kind::kDiscoveryChange);
  }
}

void Controller::Close() {
  keep_alive_.Stop();
  events_.EndRequests(kAbortedSqDeletion);
}

const NamespaceView* Controller::FindVisible(uint32_t nsid) const {
  const NamespaceView* const ns = view_.Find(nsid);
  return ns != nullptr && ns->facts->VisibleTo(identity_->hostnqn) ? ns : nullptr;
}

bool Controller::IsReachable(uint32_t anagrpid) const {
  const ListenerView* const listener = queue_.listener_;
  if (listener == nullptr) return false;
  const nvme::AnaState state = listener->StateOf(anagrpid);
  return state == nvme::AnaState::kOptimized || state == nvme::AnaState::kNonOptimized;
}

void Controller::EndWithWhole(Execution& execution, std::string data) {
  if (execution.command().data_bytes < data.size()) {
    return execution.End(kSglDataLengthInvalid | kDnrBit);
  }
  execution.EndWithData(std::move(data));
}

// --- Abort. Base §5.1. Bit 0 of the answer: the command was not aborted.

void Controller::StartAbort(Execution& execution) {
  const uint32_t cdw10 = execution.entry().cdw10;
  const auto sqid = static_cast<uint16_t>(cdw10), cid = static_cast<uint16_t>(cdw10 >> 16);
  if (sqid == queue_.qid() && cid == execution.command().cid()) return execution.EndSuccess(1);
  if (aborts_ == kAbortsMax) return execution.End(kAbortLimitExceeded | kDnrBit);
  ++aborts_;
  AwaitTask(execution, Abort(&execution, sqid, cid));
}

Task<void> Controller::Abort(Execution* execution, uint16_t sqid, uint16_t cid) {
  Worker& worker = queue_.worker();
  co_await SwitchTo(worker.control());
  const bool ending = co_await worker.control_side().Abort(identity_, sqid, cid);
  co_await SwitchTo(worker.reactor());
  --aborts_;
  execution->EndSuccess(ending ? 0 : 1);
}

// --- Keep alive. Base §3.9

void Controller::SetKeepAlive(uint32_t asked_ms) {
  const Queue::Limits& limits = queue_.limits();
  const uint32_t granted_ms = KeepAlive::Grant(asked_ms, limits.kas, limits.kato_min_ms);
  const bool idles = discovery() && granted_ms == 0;
  keep_alive_.SetTimeout(idles ? KeepAlive::kDiscoveryTimeoutMs : granted_ms);
}

void Controller::OnSilence(uint64_t silent_ns) {
  properties_.SetFatal();
  const std::string who = absl::StrFormat(
      "controller %d of %s ends: host %s at %s:%s", identity_->cntlid, identity_->subnqn,
      Printable(identity_->hostnqn), queue_.carrier().peer_address(), queue_.carrier().peer_port());
  const double seconds = static_cast<double>(silent_ns) / static_cast<double>(kNsPerSecond);
  const double timeout = keep_alive_.timeout_ms() / 1000.0;
  // That a host looks around, and says nothing more, is nothing unusual.
  if (discovery()) {
    queue_.worker().log().Info("%s is idle for %.1f s", who, seconds);
  } else {
    queue_.worker().log().Warning(
        "%s was last heard %.1f s ago, and its keep alive timeout is %.1f s", who, seconds,
        timeout);
  }
  queue_.End("keep alive timeout");
}

}  // namespace pollux::nvmf
