#include "service/handlers.h"

#include "service/accel_handlers.h"
#include "service/access_handlers.h"
#include "service/appliance.h"
#include "service/bdev_handlers.h"
#include "service/bdev_qos_handlers.h"
#include "service/bdev_watch_handlers.h"
#include "service/disk_handlers.h"
#include "service/framework_handlers.h"
#include "service/ioat_handlers.h"
#include "service/iscsi_handlers.h"
#include "service/log_handlers.h"
#include "service/notify_handlers.h"
#include "service/nvme_command_handlers.h"
#include "service/nvme_discovery_handlers.h"
#include "service/nvme_handlers.h"
#include "service/nvme_multipath_handlers.h"
#include "service/nvmf_handlers.h"
#include "service/reference_handlers.h"
#include "service/stacked_handlers.h"
#include "service/status_handlers.h"
#include "service/thread_handlers.h"

namespace pollux::service {

struct Handlers::All final : NvmeControllers::Observer {
  explicit All(Appliance& appliance)
      : framework(appliance),
        access(appliance),
        thread(appliance),
        notify(appliance),
        accel(appliance),
        ioat(appliance),
        bdev(appliance),
        bdev_qos(appliance),
        bdev_watch(appliance, bdev),
        disk(appliance),
        stacked(appliance),
        nvme(appliance),
        nvme_commands(appliance),
        nvme_multipath(appliance),
        nvme_discovery(appliance),
        iscsi(appliance),
        nvmf(appliance),
        status(appliance) {}

  // Whoever attached it sees to it.
  void OnPathGone(const NvmeAttachment& attachment, const Status& why) override {
    static_cast<NvmeControllers::Observer&>(nvme).OnPathGone(attachment, why);
    static_cast<NvmeControllers::Observer&>(nvme_discovery).OnPathGone(attachment, why);
  }

  FrameworkHandlers framework;
  AccessHandlers access;
  ThreadHandlers thread;
  LogHandlers log;
  NotifyHandlers notify;
  AccelHandlers accel;
  IoatHandlers ioat;
  BdevHandlers bdev;
  BdevQosHandlers bdev_qos;
  BdevWatchHandlers bdev_watch;
  DiskHandlers disk;
  StackedHandlers stacked;
  NvmeHandlers nvme;
  NvmeCommandHandlers nvme_commands;
  NvmeMultipathHandlers nvme_multipath;
  NvmeDiscoveryHandlers nvme_discovery;
  IscsiHandlers iscsi;
  NvmfHandlers nvmf;
  StatusHandlers status;
  ReferenceHandlers reference;
};

Handlers::Handlers(Appliance& appliance) : all_(std::make_unique<All>(appliance)) {}
Handlers::~Handlers() = default;

void Handlers::BindAll(rpc::Dispatcher& dispatcher) {
  all_->framework.Bind(dispatcher);
  all_->access.Bind(dispatcher);
  all_->thread.Bind(dispatcher);
  all_->log.Bind(dispatcher);
  all_->notify.Bind(dispatcher);
  all_->accel.Bind(dispatcher);
  all_->ioat.Bind(dispatcher);
  all_->bdev.Bind(dispatcher);
  all_->bdev_qos.Bind(dispatcher);
  all_->bdev_watch.Bind(dispatcher);
  all_->disk.Bind(dispatcher);
  all_->stacked.Bind(dispatcher);
  all_->nvme.Bind(dispatcher);
  all_->nvme_commands.Bind(dispatcher);
  all_->nvme_multipath.Bind(dispatcher);
  all_->nvme_discovery.Bind(dispatcher);
  all_->iscsi.Bind(dispatcher);
  all_->nvmf.Bind(dispatcher);
  all_->status.Bind(dispatcher);
  all_->reference.Bind(dispatcher);
}

void Handlers::DescribeKinds(Configuration& configuration) {
  all_->ioat.SpellNames(configuration);
  all_->iscsi.SpellNames(configuration);
  for (const char* kind :
       {BdevQosHandlers::kKind, "nvme_multipath_policy", "nvme_preferred_path"}) {
    configuration.SetCompanion("bdev", kind);
  }
  all_->bdev_watch.DescribeKinds(configuration);
}

void Handlers::Observe(DeviceRegistry& devices) {
  all_->bdev.Observe(devices);
  devices.AddObserver(all_->bdev_qos);
  devices.AddObserver(all_->bdev_watch);
  devices.AddObserver(all_->stacked);
}

void Handlers::StopObserving(DeviceRegistry& devices) {
  devices.RemoveObserver(all_->stacked);
  devices.RemoveObserver(all_->bdev_watch);
  devices.RemoveObserver(all_->bdev_qos);
  all_->bdev.StopObserving(devices);
}

NvmeControllers::Observer& Handlers::nvme_observer() { return *all_; }
IoatHandlers& Handlers::ioat() { return all_->ioat; }
NvmfHandlers& Handlers::nvmf() { return all_->nvmf; }
NvmeHandlers& Handlers::nvme() { return all_->nvme; }

void Handlers::EndWaits() {
  all_->bdev.EndWaits();
  all_->nvme.EndHotplug();
  all_->nvme_discovery.End();
}

}  // namespace pollux::service
