#pragma once
#include <functional>

#include "core/block/device_registry.h"
#include "core/memory/memory.h"
#include "core/memory/reactor_buffers.h"
#include "core/reactors.h"
#include "drivers/nvme/nvme.h"

namespace pollux {

// What all NVMe controllers share. It outlives them.
struct NvmeEnvironment {
  Loop& control;
  Reactors& reactors;
  DeviceRegistry& devices;
  RegionRegistry& regions;
  ReactorBuffers& buffers;
  // pollux_nvme_attach_begin, but in tests.
  std::function<int(pollux_nvme_host*, const pollux_nvme_transport_id*,
                    const pollux_nvme_attach_options*, pollux_nvme_controller**)>
      attach_begin = &pollux_nvme_attach_begin;
  // pollux_nvme_settled, but in tests.
  std::function<bool(const pollux_nvme_controller*)> settled = &pollux_nvme_settled;
  const Clock* clock = nullptr;  // Of the driver. Null: the real one.
};

}  // namespace pollux
