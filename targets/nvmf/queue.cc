#include "targets/nvmf/queue.h"

#include <utility>

#include "core/run_on.h"
#include "targets/nvmf/connector.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/io_commands.h"
#include "targets/nvmf/subsystem_view.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

// Where the disk failed, or where the command begins. 0: it is not about blocks.
uint64_t LbaOf(const nvme::SubmissionEntry& entry) {
  switch (entry.opc) {
    case nvme::io::kWrite:
    case nvme::io::kRead:
    case nvme::io::kCompare:
    case nvme::io::kWriteZeroes:
    case nvme::io::kVerify:
    case nvme::io::kCopy:
      return uint64_t{entry.cdw11} << 32 | entry.cdw10;
  }
  return 0;
}

bool IsToBeLogged(Failure failure) {
  switch (failure) {
    case Failure::kCommand:
    case Failure::kMedia:
    case Failure::kProtection:
    case Failure::kInternal:
      return true;
    case Failure::kMiscompare:
    case Failure::kAborted:
    case Failure::kPath:
      break;  // They are what the host has to expect, or its own doing.
  }
  return false;
}

}  // namespace

Queue::Queue(Worker& worker, Carrier& carrier, uint32_t listener_id, Limits limits)
    : worker_(worker), carrier_(carrier), listener_id_(listener_id), limits_(limits) {
  worker_.AddQueue(*this);
}

Queue::~Queue() {
  CHECK(state_ == State::kNew || state_ == State::kEnded, "a queue was destroyed while it is used");
  CHECK(commands_.empty(), "a queue was destroyed with commands in flight");
  worker_.RemoveQueue(*this);
}

void Queue::Start(Command& command) {
  const uint16_t cid = command.cid();
  if (state_ == State::kClosing || state_ == State::kEnded) [[unlikely]] {
    return Refuse(command, kAbortedSqDeletion);
  }
  if (identifiers_ != nullptr) [[likely]] {
    if (unanswered_ >= depth_) [[unlikely]] {
      Refuse(command, kCommandSequenceError | kDnrBit);
      return End("its host sent more commands than the queue has entries");
    }
    if (identifiers_->test(cid)) [[unlikely]] {
      return Refuse(command, kCommandIdConflict | kDnrBit);
    }
    identifiers_->set(cid);
  }
  ++unanswered_;
  Execution& execution = Execution::Of(command);
  execution.Start(*this);
  commands_.PushBack(command);
  if (state_ == State::kIo) [[likely]] {
    return DispatchIo(execution);
  }
  Dispatch(execution);
}

void Queue::Refuse(Command& command, uint16_t status) {
  counters_.CountFailure(FailureOf(status));
  nvme::CompletionEntry completion;
  Complete(command, Log(command, status, LocationOf(status), 0), completion);
  command.OnCompletion(completion);
}

void Queue::Dispatch(Execution& execution) {
  if (state_ == State::kNew || state_ == State::kConnecting) return Connector::Start(execution);
  const nvme::SubmissionEntry& entry = execution.entry();
  if ((entry.flags & kFuseMask) != 0) return execution.End(kInvalidField | kDnrBit);
  const bool connect =
      entry.opc == nvme::admin::kFabrics && FctypeOf(entry) == nvme::fctype::kConnect;
  if (connect) return execution.End(kCommandSequenceError | kDnrBit);
  controller_->Start(execution);
}

void Queue::DispatchIo(Execution& execution) {
  const nvme::SubmissionEntry& entry = execution.entry();
  if ((entry.flags & kFuseMask) != 0 || first_half_ != nullptr) [[unlikely]] {
    return StartFused(execution, first_half_);
  }
  if (entry.opc == nvme::admin::kFabrics) [[unlikely]] {
    return Connector::StartOnIoQueue(execution);
  }
  StartIo(execution);
}

void Queue::Answer(Execution& execution, uint16_t status, nvme::CompletionEntry& completion) {
  const Command& command = execution.command();
  if (identifiers_ != nullptr) identifiers_->reset(command.cid());
  --unanswered_;
  if (status == kSuccess) [[likely]] {
    counters_.CountSuccess(execution.kind_, execution.transfer.offset);
    if (execution.ns_ != nullptr) {
      execution.ns_->counters->CountSuccess(execution.kind_, execution.transfer.offset);
    }
  } else {
    status = Fail(execution, status);
  }
  Complete(command, status, completion);
}

// The head of the submission queue moves by one with each completion, so that the host never has
// more commands with us than the queue has entries. Without flow control SQHD is reserved.
void Queue::Complete(const Command& command, uint16_t status, nvme::CompletionEntry& completion) {
  if (sq_flow_control_ && depth_ > 0) {
    if (++sqhd_ == depth_) sqhd_ = 0;
    completion.sqhd = sqhd_;
  }
  completion.cid = command.cid();
  completion.status = static_cast<uint16_t>(status << 1);
}

uint16_t Queue::Fail(Execution& execution, uint16_t status) {
  const Failure failure = FailureOf(status);
  counters_.CountFailure(failure);
  if (execution.ns_ != nullptr) execution.ns_->counters->CountFailure(failure);
  const Command& command = execution.command();
  const uint16_t location = std::exchange(execution.fault_at_, kNoLocation);
  const bool by_disk = failure == Failure::kMedia || failure == Failure::kProtection;
  const uint64_t lba = qid_ == 0 ? 0 : by_disk ? execution.io.lba : LbaOf(command.entry);
  return Log(command, status, location != kNoLocation ? location : LocationOf(status), lba);
}

uint16_t Queue::Log(const Command& command, uint16_t status, uint16_t location, uint64_t lba) {
  const bool has_log = identity_ != nullptr && !identity_->discovery;
  if (!has_log || !IsToBeLogged(FailureOf(status))) return status;
  const bool fabrics = command.entry.opc == nvme::admin::kFabrics;  // These have no NSID.
  status = kMore.Set(status, 1);
  identity_->errors->Add({.sqid = qid_,
                          .cid = command.cid(),
                          .status_field = static_cast<uint16_t>(status << 1),
                          .location = location,
                          .lba = lba,
                          .nsid = fabrics ? 0 : uint32_t{command.entry.nsid},
                          .trtype = limits_.trtype});
  return status;
}

void Queue::Remove(Command& command) {
  commands_.Remove(command);
  if (state_ == State::kClosing && commands_.empty() && !closing_.deferred()) [[unlikely]] {
    worker_.reactor().Defer(closing_);
  }
}

void Queue::SetUp(Connection connection) {
  identity_ = std::move(connection.identity);
  qid_ = connection.qid;
  if (state_ != State::kConnecting) return;
  if (connection.view == nullptr) return End("its subsystem was removed");
  depth_ = connection.depth;
  sq_flow_control_ = connection.sq_flow_control;
  view_ = connection.view;
  view_->AddQueue(*this);
  listener_ = view_->FindListener(listener_id_);
  identifiers_ = std::make_unique<Identifiers>();
  for (Command* c = commands_.Front(); c != nullptr; c = commands_.Next(*c)) {
    identifiers_->set(c->cid());
  }
  state_ = qid_ == 0 ? State::kAdmin : State::kIo;
}

bool Queue::Abort(uint16_t cid) {
  for (Command* c = commands_.Front(); c != nullptr; c = commands_.Next(*c)) {
    Execution& execution = Execution::Of(*c);
    if (c->cid() != cid || execution.answered_) continue;
    execution.EndEarly(Execution::Early::kAborted, /*let_go=*/false);
    return true;
  }
  return false;
}

void Queue::End(const char* reason, bool when_sent) {
  if (end_wanted_ || state_ == State::kClosing || state_ == State::kEnded) return;
  end_wanted_ = true;
  carrier_.OnEndWanted(reason, when_sent);
}

// Nothing ends from within Abandon, so the list stays as it is meanwhile.
void Queue::Close() {
  if (state_ == State::kClosing || state_ == State::kEnded) return;
  state_ = State::kClosing;
  for (Command* c = commands_.Front(); c != nullptr; c = commands_.Next(*c)) c->Abandon();
  worker_.reactor().Defer(closing_);
}

void Queue::OnClosing() {
  if (controller_ != nullptr) controller_->Close();
  if (!commands_.empty() || departing_) return;
  departing_ = true;
  if (closing_.deferred()) worker_.reactor().CancelDeferred(closing_);
  worker_.tasks().Spawn(Depart());
}

// The control side may call the queue until Leave() has returned.
Task<void> Queue::Depart() {
  controller_ = nullptr;
  if (identity_ != nullptr) {
    co_await SwitchTo(worker_.control());
    co_await worker_.control_side().Leave(identity_, qid_);
    co_await SwitchTo(worker_.reactor());
  }
  if (view_ != nullptr) view_->RemoveQueue(*this);
  worker_.RemoveQueue(*this);
  state_ = State::kEnded;
  carrier_.OnQueueEnded();
}

}  // namespace pollux::nvmf
