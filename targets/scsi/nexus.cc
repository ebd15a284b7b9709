#include "targets/scsi/nexus.h"

#include <utility>

#include "targets/scsi/command_table.h"
#include "targets/scsi/nexus_impl.h"

namespace pollux::scsi {
namespace {

// Goes on in the deferred stage, so that nobody is called back from within his own call.
class LaterInTurn final : public Deferred {
 public:
  explicit LaterInTurn(Loop& loop) : loop_(loop) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) noexcept {
    task_ = task;
    loop_.Defer(*this);
  }
  void await_resume() noexcept {}

 private:
  void RunDeferred() override { task_.resume(); }
  Loop& loop_;
  std::coroutine_handle<> task_;
};

// The entry for a CDB, or null and what is wrong with it.
const CommandInfo* FindCommand(Execution& e, Sense* sense) {
  const std::span<const CommandInfo> candidates = CommandsOf(e.cdb()[0]);
  *sense = IllegalRequest(AdditionalSense::kInvalidOpcode);
  for (const CommandInfo& info : candidates) {
    if (info.service_action == CommandInfo::kNoServiceAction) return &info;
    if (info.service_action == (e.cdb()[1] & kServiceActionMask)) return &info;
    *sense = InvalidFieldInCdb(1, 4);  // A known opcode with an unknown service action.
  }
  return nullptr;
}

// What is checked of every command, in this order: the LUN, unit attentions, the opcode,
// reservations, whether the unit is ready, NACA.
void Dispatch(Execution& e) {
  Sense sense;
  const CommandInfo* info = FindCommand(e, &sense);
  const bool always = info != nullptr && info->admission == Admission::kAlways;
  if (!always) {
    if (e.unit() == nullptr) {
      return e.EndWithSense(IllegalRequest(AdditionalSense::kUnitNotSupported));
    }
    if (e.unit_attentions().any()) {
      const UnitAttention condition = e.unit_attentions().Take();
      if (condition == UnitAttention::kReportedLunsChanged) e.ReportedLunsWereRead();
      return e.EndWithSense(SenseOf(condition));
    }
    if (info == nullptr) return e.EndWithSense(sense);
    if (!e.AdmitAs(*info)) return e.EndWithConflict();
    if (!Supports(*info, e.disk())) {
      return e.EndWithSense(IllegalRequest(AdditionalSense::kInvalidOpcode));
    }
    if (!e.UnitRunsIt()) return e.EndWithSense(e.NotReadySense());
  }
  const uint16_t control = static_cast<uint16_t>(info->cdb_bytes - 1);
  if (e.cdb()[control] & kNaca) return e.EndWithSense(InvalidFieldInCdb(control, 2));
  info->start(e);
}

}  // namespace

int Nexus::Impl::DecodeLun(uint64_t lun) {
  if ((lun & 0xffff'ffff'ffff) != 0) return -1;
  const auto level = static_cast<unsigned>(lun >> 48);
  const unsigned method = level >> 14;
  // Peripheral device addressing has the bus in the low bits of the first byte; flat space
  // addressing has the LUN there.
  if (method > 1 || (level & 0x3fff) >= kLunsMax) return -1;
  return static_cast<int>(level & 0x3fff);
}

void Nexus::Impl::Start(Command& command) {
  Execution& e = Execution::Of(command);
  const int number = DecodeLun(command.lun);
  e.Start(*this, number < 0 ? nullptr : view.Find(number));
  e.in_downcall_ = true;
  Dispatch(e);
  e.in_downcall_ = false;
}

void Nexus::Impl::AbortAll(int number, Execution::Early why, bool transport_let_go) {
  Execution* next = nullptr;
  for (Execution* e = in_flight.Front(); e != nullptr; e = next) {
    next = in_flight.Next(*e);
    if (number != DeviceView::kAll && (e->unit_ == nullptr || e->unit_->number != number)) continue;
    e->EndEarly(why, transport_let_go);
  }
}

// The nexus may be destroyed at each wait: from there on only locals are touched.
Task<void> Nexus::Impl::Manage(TaskFunction function, uint64_t lun, Command* task,
                               std::function<void(TaskFunctionResult)> done) {
  const std::shared_ptr<bool> still_alive = alive;
  DeviceView& my_view = view;
  auto result = TaskFunctionResult::kComplete;

  const int number = function == TaskFunction::kTargetReset ? DeviceView::kAll : DecodeLun(lun);
  const bool exists = number == DeviceView::kAll ? function == TaskFunction::kTargetReset
                                                 : my_view.Find(number) != nullptr;
  if (task != nullptr && function == TaskFunction::kAbortTask) {
    const uint64_t sequence = Execution::Of(*task).sequence_;
    Execution::Of(*task).EndEarly(Execution::Early::kAborted, /*transport_let_go=*/true);
    co_await my_view.Drained(DeviceView::kAll, this, sequence);
  } else if (!exists) {
    result = TaskFunctionResult::kNoSuchLun;
  } else if (function == TaskFunction::kAbortTaskSet) {
    AbortAll(number, Execution::Early::kAborted, /*transport_let_go=*/true);
    co_await my_view.Drained(number, this);
  } else if (function != TaskFunction::kAbortTask) {
    const bool reset = function != TaskFunction::kClearTaskSet;
    co_await my_view.AbortEverywhere(number, reset, this);
  }
  co_await LaterInTurn(my_view.reactor());
  if (*still_alive) done(result);
}

Nexus::Nexus(DeviceView& view, BufferPool& buffers, Identity identity)
    : impl_(std::make_unique<Impl>(view, buffers, std::move(identity))) {
  CHECK(buffers.buffer_bytes() >= kBufferBytesMin);
  view.AddNexus(*impl_);
}

Nexus::~Nexus() {
  CHECK(impl_->in_flight.empty(), "a nexus was destroyed with commands in flight");
  *impl_->alive = false;
  impl_->view.RemoveNexus(*impl_);
}

void Nexus::Start(Command& command) { impl_->Start(command); }

void Nexus::Abort(Command& command) {
  Execution::Of(command).EndEarly(Execution::Early::kAborted, /*transport_let_go=*/true);
}

void Nexus::AbortAll() {
  impl_->AbortAll(DeviceView::kAll, Execution::Early::kAborted, /*transport_let_go=*/true);
}

void Nexus::Manage(TaskFunction function, uint64_t lun, Command* task,
                   std::function<void(TaskFunctionResult)> done) {
  impl_->view.tasks().Spawn(impl_->Manage(function, lun, task, std::move(done)));
}

size_t Nexus::in_flight() const { return impl_->in_flight.size(); }
const Nexus::Identity& Nexus::identity() const { return impl_->identity; }

}  // namespace pollux::scsi
