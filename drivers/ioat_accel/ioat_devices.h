#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/accel/accel.h"
#include "core/clock.h"
#include "core/event.h"
#include "core/memory/region_registry.h"
#include "core/reactors.h"
#include "core/status.h"
#include "core/task.h"
#include "core/task_group.h"
#include "core/turn.h"
#include "drivers/ioat/ioat.h"
#include "drivers/ioat_accel/ioat_attachment.h"
#include "drivers/ioat_accel/ioat_lane.h"

namespace pollux {

// The accel module "ioat": I/OAT devices that come and go at run time. Each reactor has a lane,
// which holds one channel of some device, or none as long as there are fewer channels than
// reactors: the CPU then executes that reactor's operations. A channel is tested before a lane gets
// it.
//
// What a channel cannot reach, what it is too busy for, and what is shorter than bytes_min() the
// CPU executes. So it does with what a channel gave back: one that fails, or whose device goes,
// loses nothing. Control loop only.
class IoatDevices final : public AccelModule,
                          private IoatAttachment::Owner,
                          private IoatLane::Keeper {
 public:
  struct Environment {
    Accel& accel;
    Reactors& reactors;
    Loop& control;
    RegionRegistry& regions;
    const Clock* clock = nullptr;  // Of the driver. Null: the real one.
    // pollux_ioat_attach_begin, but in tests.
    IoatAttachment::AttachBegin attach_begin = &pollux_ioat_attach_begin;
  };
  class Observer {
   public:
    // The device has gone by itself, and is detached and forgotten.
    virtual void OnDeviceGone(const std::string& address, const Status& why) = 0;

   protected:
    ~Observer() = default;
  };

  // Adds itself to the accel layer as a preferred module. The observer may be null.
  IoatDevices(const Environment& environment, Observer* observer);
  ~IoatDevices();  // After Stop().

  // A PCI address ("0000:00:04.0"), or the path of a vfio-user socket, or of the directory with its
  // socket `cntrl`. Errors: EEXIST it is attached already, or is being attached; ENODEV, EBUSY,
  // EACCES, EINVAL, ETIMEDOUT as pollux_ioat_attach has them; EIO no channel passes its test.
  Task<Status> Attach(std::string address);
  // What is in flight ends first. Errors: ENODEV there is no such device; EBUSY it is being
  // detached already.
  Task<Status> Detach(std::string address);
  // Attaches that are under way end with ECANCELED, soon.
  void CancelAttaches();
  // The same; then everything is detached.
  Task<void> Stop();

  // The addresses of all I/OAT functions of the PCI bus that vfio-pci has and nobody has attached.
  std::vector<std::string> Scan();

  static constexpr std::string_view kOutOfService = "out of service";
  struct ChannelView {
    uint32_t index = 0;
    std::string_view state;            // "running", "recovering", "suspended", "out of service".
    std::string_view reason;           // Why it is out of service, or was last reset. Or empty.
    const Reactor* reactor = nullptr;  // Whose lane has it. Null: it is spare, or out of service.
    pollux_ioat_statistics statistics{};
  };
  struct DeviceView {
    const pollux_ioat_device_info& info;
    std::vector<ChannelView> channels;
  };
  // Those that are attached, in the order of their arrival.
  std::vector<DeviceView> devices() const;

  // What is shorter is not worth a descriptor. A guess, until a real device was
  // measured with pollux-accel-perf --sweep.
  static constexpr uint32_t kBytesMinDefault = 4096;
  uint32_t bytes_min() const { return bytes_min_; }
  Task<void> SetBytesMin(uint32_t bytes);

  // --- AccelModule.
  std::string_view name() const override { return "ioat"; }
  bool Executes(AccelOpcode opcode) const override;
  bool Available(AccelOpcode opcode) const override;
  AccelModuleChannel* channel(const Reactor& reactor) override {
    return lanes_[reactor.index()].get();
  }

 private:
  using Place = IoatAttachment::Place;

  IoatAttachment* Find(const std::string& address) const;
  Task<void> Remove(IoatAttachment* attachment);
  Task<void> RemoveGone(IoatAttachment* attachment, Status why);
  Task<void> ReplaceOutOfService();
  // Gives each lane that is empty a channel, as long as there are spare ones.
  Task<void> Distribute();
  Place* FindSpare() const;
  Place* FindOutOfService() const;
  bool IsEmpty(const IoatLane& lane) const;
  Task<void> EmptyLane(Place* place);
  void OnGone(IoatAttachment& attachment, Status why) override;
  void OnOutOfService() override;

  const Environment environment_;
  Observer* const observer_;
  const ioat::Host host_;
  std::vector<std::unique_ptr<IoatLane>> lanes_;  // By reactor.
  std::vector<std::unique_ptr<IoatAttachment>> attachments_;
  uint32_t bytes_min_ = kBytesMinDefault;
  bool stopping_ = false;
  Turn moving_;    // Channels come to lanes, or leave them.
  Event removed_;  // Pulsed when there is an attachment less.
  TaskGroup tasks_;
};

}  // namespace pollux
