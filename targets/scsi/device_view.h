#pragma once
#include <array>
#include <coroutine>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_device.h"
#include "core/task_group.h"
#include "targets/scsi/nexus.h"
#include "targets/scsi/reservation_access.h"
#include "targets/scsi/target_port_group.h"
#include "targets/scsi/unit_attention.h"
#include "targets/scsi/unit_status.h"

namespace pollux::scsi {

inline constexpr int kLunsMax = 256;

// What commands say of a disk, taken down on the control loop when the LUN is attached. The size is
// not here: the channel knows it.
struct DiskFacts {
  std::string device_name;
  std::string product;  // Sixteen printable ASCII characters.
  Uuid uuid;
  uint32_t block_bytes = 512;
  uint8_t physical_exponent = 0;  // Physical block = block << exponent.
  Limits limits;
  bool read_only = false;  // The device is, or the LUN.
  bool removable = false;  // The LUN is.
  bool volatile_cache = false;
  bool flush = false;
  bool unmap = false;
  bool write_zeroes = false;
  bool compare_and_write = false;

  static std::shared_ptr<DiskFacts> Of(const BlockDevice& device);
};

class Execution;
class Sanitizer;
class SharedStatus;
class UnitChange;
class UnitReservations;

// A LUN on one reactor.
struct LogicalUnit {
  int number;
  BlockChannel* channel;
  std::shared_ptr<const DiskFacts> disk;
  std::shared_ptr<UnitReservations> reservations;
  std::shared_ptr<const ReservationState> reservation_state;
  // The same while something is reserved, else null: what each command looks at.
  const ReservationState* reserved = nullptr;
  std::shared_ptr<SharedStatus> shared_status;
  UnitStatus status;
  std::shared_ptr<Sanitizer> sanitizer;  // The last one that began on this reactor.
  TaskGroup background;                  // What outlives its command. Detach waits for it.

  bool write_protected() const { return disk->read_only || status.software_write_protect; }
  void Show(std::shared_ptr<const ReservationState> state) {
    reserved = state->reserved() ? state.get() : nullptr;
    reservation_state = std::move(state);
  }
};

// What one reactor knows of a target device. Its reactor only, apart from the constructor.
class DeviceView {
 public:
  using Views = std::vector<std::unique_ptr<DeviceView>>;

  // `views` are those of all reactors, this one among them; complete before the first command.
  DeviceView(std::string device_name, Reactor& reactor, const Views& views)
      : device_name_(std::move(device_name)),
        reactor_(reactor),
        views_(views),
        check_drains_(*this) {}
  ~DeviceView();

  const std::string& device_name() const { return device_name_; }
  Reactor& reactor() { return reactor_; }

  // Null when there is no such LUN, or it is pending.
  LogicalUnit* Find(int number) { return units_[static_cast<size_t>(number)].get(); }

  // Every nexus hears that the set of LUNs changed.
  void Attach(std::unique_ptr<LogicalUnit> unit);
  // No new command gets there; those in flight end with LOGICAL UNIT NOT SUPPORTED as soon as
  // device and transport let go of their buffers. Done when all have ended.
  Task<void> Detach(int number);

  void AddNexus(Nexus::Impl& nexus);
  void RemoveNexus(Nexus::Impl& nexus);
  void Tell(int number, UnitAttention condition);  // Every nexus.
  void TellOthers(int number, uint64_t than, UnitAttention condition);
  void ShowStatus(int number, const UnitStatus& status);
  // Commands that the unit does not run in its present state; the one that asked for it is spared.
  void EndUnready(int number, const UnitChange& asker);
  Task<void> UnreadyDrained(int number, const UnitChange& asker);

  // --- Target port groups of the device.
  const TargetPortGroups& port_groups() const { return port_groups_; }
  // Every nexus hears of it; what its port does not take any more ends.
  void ShowPortGroups(TargetPortGroups groups);
  Task<void> RefusedDrained();

  // --- Reservations of a LUN (unit_reservations.h); nothing where it is not there.
  void ShowReservations(int number, std::shared_ptr<const ReservationState> state);
  // The nexuses that the registration stands for.
  void TellRegistrant(int number, const Registration& registrant, UnitAttention what);
  // The commands of their nexuses, but for one, end.
  void AbortRegistrants(int number, const std::vector<Registration>& registrants, uint64_t spared);
  Task<void> RegistrantsDrained(int number, std::vector<Registration> registrants, uint64_t spared);
  // Commands that would not be admitted any more: those that wait for data of the initiator end
  // with RESERVATION CONFLICT. Their I/O that is under way ends by itself, and more is not begun.
  void EndConflicting(int number);
  // None of them has the device's memory or an I/O any more.
  Task<void> ConflictingDrained(int number);

  // --- Task management: the commands of one LUN, or of all (kAll), and of one nexus, or of all
  // (null), on every reactor.
  static constexpr int kAll = -1;
  static constexpr uint64_t kEvery = UINT64_MAX;
  // Ends them; when `reset`, the unit attention is queued, mode parameters go back to their
  // defaults and what RESERVE(6) reserved is free.
  Task<void> AbortEverywhere(int number, bool reset, Nexus::Impl* asker);
  // Waits for those that are in flight here now, or only for the one with this sequence number.
  Task<void> Drained(int number, Nexus::Impl* nexus, uint64_t only = kEvery);

  // Of a nexus, for its lifetime: no other on any reactor has it. Never 0.
  uint64_t NextNexusNumber() { return (uint64_t{reactor_.index()} << 48) | ++nexuses_made_; }
  uint64_t NextSequence() { return next_sequence_++; }
  // Or let go of something that a drain may wait for.
  void OnCommandEnded() {
    if (!drains_.empty() && !check_drains_.deferred()) reactor_.Defer(check_drains_);
  }

  // What task management has under way; the target device waits for it before it goes.
  TaskGroup& tasks() { return tasks_; }

 private:
  // Waits until none of the commands that it describes is left.
  struct Drain {
    DeviceView& view;
    std::function<bool(Nexus::Impl&, Execution&)> matches;
    std::coroutine_handle<> waiter;

    bool await_ready() const { return !AnyLeft(); }
    void await_suspend(std::coroutine_handle<> task) {
      waiter = task;
      view.drains_.push_back(this);
    }
    void await_resume() const {}
    bool AnyLeft() const;
  };
  class CheckDrains final : public Deferred {
   public:
    explicit CheckDrains(DeviceView& view) : view_(view) {}
    void RunDeferred() override { view_.OnCheckDrains(); }

   private:
    DeviceView& view_;
  };
  void OnCheckDrains();
  static Task<void> EndReserve6(std::shared_ptr<UnitReservations> reservations, uint64_t nexus);
  static Task<void> EndPrevent(std::shared_ptr<SharedStatus> status, uint64_t nexus);
  void SetRoles(Nexus::Impl& nexus, const LogicalUnit& unit);
  void SetAccess(Nexus::Impl& nexus);
  void AbortHere(int number, bool reset, Nexus::Impl* asker);

  const std::string device_name_;
  Reactor& reactor_;
  const Views& views_;
  std::array<std::unique_ptr<LogicalUnit>, kLunsMax> units_;
  std::vector<Nexus::Impl*> nexuses_;
  TargetPortGroups port_groups_;
  uint64_t next_sequence_ = 0;
  uint64_t nexuses_made_ = 0;
  std::vector<Drain*> drains_;
  CheckDrains check_drains_;
  TaskGroup tasks_;
};

}  // namespace pollux::scsi
