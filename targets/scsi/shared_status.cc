#include "targets/scsi/shared_status.h"

#include <utility>
#include <vector>

#include "core/run_on.h"

namespace pollux::scsi {

Task<bool> StatusChange::Execute(LogicalUnit& unit) {
  const std::shared_ptr<SharedStatus> shared = unit.shared_status;
  const bool begun = co_await shared->Execute(*this);
  co_return begun;
}

Task<bool> SharedStatus::Execute(StatusChange& change) {
  Loop& home = *Loop::Current();
  co_await SwitchTo(control_);
  const bool begun = co_await Apply(change);
  co_await SwitchTo(home);
  co_return begun;
}

// On the control loop, where it ends too.
Task<bool> SharedStatus::Apply(StatusChange& change) {
  const Turn::Holder held = co_await turn_.Take();
  if (!change.Begin()) co_return false;
  const UnitStatus before = status_;
  change.Apply(status_);
  if (status_ != before) co_await Show(&change);
  co_return true;
}

Task<void> SharedStatus::Edit(std::function<void(UnitStatus&)> edit) {
  Loop& home = *Loop::Current();
  co_await SwitchTo(control_);
  {
    const Turn::Holder held = co_await turn_.Take();
    const UnitStatus before = status_;
    edit(status_);
    if (status_ != before) co_await Show(nullptr);
  }
  co_await SwitchTo(home);
}

Task<void> SharedStatus::Reset() {
  return Edit([](UnitStatus& status) {
    status.descriptor_sense = status.software_write_protect = false;
    status.preventing.clear();
  });
}

Task<void> SharedStatus::EndPrevent(uint64_t nexus) {
  return Edit([nexus](UnitStatus& status) { std::erase(status.preventing, nexus); });
}

// The asker's reactor comes last: when the change is made, it is so for everybody.
Task<void> SharedStatus::Show(const StatusChange* change) {
  std::vector<DeviceView*> order;
  for (const auto& view : views_) order.push_back(view.get());
  if (change != nullptr) std::swap(order[change->reactor_index], order.back());
  const UnitStatus status = status_;
  for (DeviceView* view : order) {
    co_await SwitchTo(view->reactor());
    view->ShowStatus(number_, status);
    if (change != nullptr && change->attention) {
      view->TellOthers(number_, change->nexus, *change->attention);
    }
    if (change != nullptr && change->exclusive) view->EndUnready(number_, *change);
  }
  for (DeviceView* view : order) {
    if (change == nullptr || !change->exclusive) break;
    co_await SwitchTo(view->reactor());
    co_await view->UnreadyDrained(number_, *change);
  }
  co_await SwitchTo(control_);
}

}  // namespace pollux::scsi
