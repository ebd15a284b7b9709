#include "targets/scsi/target_device.h"

#include <map>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/log.h"
#include "core/turn.h"
#include "targets/scsi/device_view.h"
#include "targets/scsi/shared_status.h"
#include "targets/scsi/unit_reservations.h"

namespace pollux::scsi {

static_assert(kLunsMax == TargetDevice::kLunsMax);

// Changes of the LUNs take one turn at a time: a device that goes while its LUN is being attached
// waits until it is, and the other way round.
struct TargetDevice::Impl final : DeviceRegistry::Observer {
  // A configured LUN. It is the user of its block device while `device` is set.
  struct Entry final : BlockUser {
    Entry(Impl& owner, int lun_number, std::string name, LunOptions lun_options)
        : impl(owner), number(lun_number), device_name(std::move(name)), options(lun_options) {}
    std::string description() const override {
      return absl::StrFormat("iscsi target %s LUN %d", impl.name, number);
    }
    Task<void> OnDeviceRemoving(BlockDevice& gone) override {
      return impl.OnRemoving(number, gone);
    }
    void OnDeviceResized(BlockDevice&) override { impl.tasks.Spawn(impl.TellCapacity(number)); }

    Impl& impl;
    const int number;
    const std::string device_name;
    const LunOptions options;
    BlockDevice* device = nullptr;
    std::string reason;  // Why there is none.
    std::shared_ptr<UnitReservations> reservations;
    std::shared_ptr<SharedStatus> shared_status;
  };

  Impl(std::string device_name, DeviceRegistry& registry, ReservationStore* store)
      : name(std::move(device_name)), devices(registry), reservation_store(store) {
    for (auto& reactor : devices.reactors()) {
      views.push_back(std::make_unique<DeviceView>(name, *reactor, views));
    }
    devices.AddObserver(*this);
  }
  ~Impl() { devices.RemoveObserver(*this); }

  Task<Result<int>> AddLun(std::optional<int> number, std::string device_name, bool may_be_pending,
                           LunOptions options);
  Task<Status> RemoveLun(int number, bool for_good);
  Task<void> ForgetReservations();
  Task<void> Shutdown();

  // Opens the block device and shows it to the reactors. The turn is held.
  Task<Status> Attach(Entry& entry);
  // Takes it from the reactors. The turn is held; the device stays open.
  Task<void> Detach(Entry& entry);
  Task<void> OnRemoving(int number, BlockDevice& gone);
  Task<void> AttachPending();
  Task<void> TellCapacity(int number);
  Task<void> SetPortGroups(TargetPortGroups groups);

  // --- DeviceRegistry::Observer
  void OnRegistered(BlockDevice&) override {
    if (!stopping) tasks.Spawn(AttachPending());
  }
  void OnUnregistered(const std::string&) override {}  // Users are told before.
  void OnResized(BlockDevice&) override {}             // Likewise.

  const std::string name;
  DeviceRegistry& devices;
  ReservationStore* const reservation_store;
  DeviceView::Views views;
  std::map<int, std::unique_ptr<Entry>> luns;
  TargetPortGroups port_groups;
  Turn turn;
  TaskGroup tasks;
  bool stopping = false;
};

Task<Status> TargetDevice::Impl::Attach(Entry& entry) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, devices.Find(entry.device_name));
  if (device->geometry().data_block_bytes() != device->geometry().block_bytes) {
    co_return NotSupported("block device '%s' has metadata among its data", entry.device_name);
  }
  const bool writes = !device->read_only() && !entry.options.read_only;
  CO_RETURN_IF_ERROR(device->Open(entry, writes));
  entry.device = device;
  entry.reason.clear();
  const std::shared_ptr<DiskFacts> facts = DiskFacts::Of(*device);
  facts->read_only = !writes;
  facts->removable = entry.options.removable;
  entry.reservations->OnMedium(device->uuid());
  entry.shared_status->OnMedium(device->uuid());
  const auto state = entry.reservations->state();
  for (auto& view : views) {
    auto unit = std::make_unique<LogicalUnit>();
    unit->number = entry.number;
    unit->channel = device->channel(view->reactor().index());
    unit->disk = facts;
    unit->reservations = entry.reservations;
    unit->Show(state);
    unit->shared_status = entry.shared_status;
    unit->status = entry.shared_status->status();
    auto attach = [&view, &unit] { view->Attach(std::move(unit)); };
    co_await RunOn(view->reactor(), attach);
  }
  co_return OkStatus();
}

Task<void> TargetDevice::Impl::Detach(Entry& entry) {
  Loop& home = *Loop::Current();
  for (auto& view : views) {
    co_await SwitchTo(view->reactor());
    co_await view->Detach(entry.number);
  }
  co_await SwitchTo(home);
}

Task<Result<int>> TargetDevice::Impl::AddLun(std::optional<int> number, std::string device_name,
                                             bool may_be_pending, LunOptions options) {
  const Turn::Holder held = co_await turn.Take();
  if (number && (*number < 0 || *number >= kLunsMax)) {
    co_return InvalidField("lun_id", *number, "must be between 0 and %d", kLunsMax - 1);
  }
  if (number && luns.contains(*number)) {
    co_return ErrorOfField(EEXIST, "lun_id", std::to_string(*number), "the target has it already");
  }
  if (!number) {
    int lowest = 0;
    while (luns.contains(lowest)) ++lowest;
    if (lowest == kLunsMax) co_return NoSpace("all %d LUNs are taken", kLunsMax);
    number = lowest;
  }

  auto made = std::make_unique<Entry>(*this, *number, std::move(device_name), options);
  Entry& entry = *made;
  entry.reservations =
      std::make_shared<UnitReservations>(name, *number, *Loop::Current(), views, reservation_store);
  entry.shared_status = std::make_shared<SharedStatus>(*number, *Loop::Current(), views);
  luns.emplace(*number, std::move(made));
  const Status attached = co_await Attach(entry);
  if (attached.ok()) co_return *number;
  if (!may_be_pending) {
    luns.erase(*number);
    co_return attached;
  }
  entry.reason = DetailOf(attached).reason;
  LogWarning("iscsi", "target %s: LUN %d is pending: %s", name, *number, entry.reason);
  co_return *number;
}

Task<Status> TargetDevice::Impl::RemoveLun(int number, bool for_good) {
  const Turn::Holder held = co_await turn.Take();
  const auto found = luns.find(number);
  if (found == luns.end()) {
    co_return ErrorOfField(ENOENT, "lun_id", std::to_string(number), "the target has no such LUN");
  }
  Entry& entry = *found->second;
  if (entry.device != nullptr) {
    co_await Detach(entry);
    entry.device->Close(entry);
  }
  if (for_good) co_await entry.reservations->Forget();
  luns.erase(number);
  co_return OkStatus();
}

Task<void> TargetDevice::Impl::ForgetReservations() {
  const Turn::Holder held = co_await turn.Take();
  for (auto& [number, entry] : luns) co_await entry->reservations->Forget();
}

Task<void> TargetDevice::Impl::OnRemoving(int number, BlockDevice& gone) {
  const Turn::Holder held = co_await turn.Take();
  const auto found = luns.find(number);
  // Somebody may have removed the LUN while we waited for the turn.
  if (found == luns.end() || found->second->device != &gone) co_return;
  Entry& entry = *found->second;
  co_await Detach(entry);
  entry.device = nullptr;
  entry.reason = absl::StrFormat("block device '%s' was removed", entry.device_name);
  LogNotice("iscsi", "target %s: LUN %d is pending: %s", name, number, entry.reason);
}

Task<void> TargetDevice::Impl::AttachPending() {
  const Turn::Holder held = co_await turn.Take();
  for (auto& [number, entry] : luns) {
    if (entry->device != nullptr || stopping) continue;
    const Status attached = co_await Attach(*entry);
    if (attached.ok()) {
      LogNotice("iscsi", "target %s: LUN %d is there again", name, number);
    } else {
      entry->reason = DetailOf(attached).reason;
    }
  }
}

Task<void> TargetDevice::Impl::TellCapacity(int number) {
  const auto tell = [this, number](Reactor& reactor) {
    views[reactor.index()]->Tell(number, UnitAttention::kCapacityChanged);
  };
  co_await devices.reactors().ForEach(tell);
}

Task<void> TargetDevice::Impl::SetPortGroups(TargetPortGroups groups) {
  const Turn::Holder held = co_await turn.Take();
  if (groups == port_groups) co_return;
  port_groups = std::move(groups);
  Loop& home = *Loop::Current();
  for (auto& view : views) {
    co_await SwitchTo(view->reactor());
    view->ShowPortGroups(port_groups);
  }
  for (auto& view : views) {
    co_await SwitchTo(view->reactor());
    co_await view->RefusedDrained();
  }
  co_await SwitchTo(home);
}

Task<void> TargetDevice::Impl::Shutdown() {
  stopping = true;
  co_await tasks.Drained();
  Loop& home = *Loop::Current();
  for (auto& view : views) {
    co_await SwitchTo(view->reactor());
    co_await view->tasks().Drained();
  }
  co_await SwitchTo(home);
  while (!luns.empty()) {
    const int number = luns.begin()->first;
    static_cast<void>(co_await RemoveLun(number, /*for_good=*/false));
  }
  co_await tasks.Drained();
}

TargetDevice::TargetDevice(std::string name, DeviceRegistry& devices,
                           ReservationStore* reservations)
    : impl_(std::make_unique<Impl>(std::move(name), devices, reservations)) {}
TargetDevice::~TargetDevice() = default;

Task<Result<int>> TargetDevice::AddLun(std::optional<int> number, std::string device_name,
                                       bool may_be_pending, LunOptions options) {
  return impl_->AddLun(number, std::move(device_name), may_be_pending, options);
}
Task<Status> TargetDevice::RemoveLun(int number) {
  return impl_->RemoveLun(number, /*for_good=*/true);
}
Task<void> TargetDevice::ForgetReservations() { return impl_->ForgetReservations(); }
void TargetDevice::SetPortGroups(TargetPortGroups groups) {
  impl_->tasks.Spawn(impl_->SetPortGroups(std::move(groups)));
}
Task<void> TargetDevice::PortGroupsShown() {
  const Turn::Holder after_them = co_await impl_->turn.Take();
}
Task<void> TargetDevice::Shutdown() { return impl_->Shutdown(); }

const std::string& TargetDevice::name() const { return impl_->name; }

std::vector<TargetDevice::Lun> TargetDevice::luns() const {
  std::vector<Lun> result;
  for (const auto& [number, entry] : impl_->luns) {
    result.push_back(
        {number, entry->device_name, entry->device == nullptr, entry->reason, entry->options});
  }
  return result;
}

DeviceView& TargetDevice::view(size_t reactor_index) { return *impl_->views[reactor_index]; }

}  // namespace pollux::scsi
