#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/loop.h"
#include "core/status.h"
#include "core/task.h"
#include "targets/vfio_user/device.h"

namespace pollux::vfio_user {

// A device at a Unix socket, by the vfio-user protocol, version 0.x. One client at a time; another
// waits in the backlog. A client may die at any point, and the next one finds the device reset.
// Whatever it sends costs its own connection at most; so does memory that it takes away, by making
// the file shorter: the device reads zeros there until the connection has ended.
class Server {
 public:
  struct Options {
    std::string path;                   // Of the socket; a stale one is replaced.
    uint32_t data_bytes_max = 1 << 20;  // Of one region access; 4096 at least.
    uint32_t dma_regions_max = 4096;    // QEMU maps a few dozen pieces while its firmware starts.
    uint32_t fds_max = 8;               // In one message.
  };
  // The device and the loop outlive the server.
  static Result<std::unique_ptr<Server>> Listen(Options options, ServedDevice& device, Loop& loop);
  virtual ~Server() = default;

  // Ends the connection, waits until the device let go of the client's memory, removes the socket.
  virtual Task<void> Close() = 0;
  virtual bool connected() const = 0;

  // The memory at [iova, iova + bytes), or null when not all of it lies in one mapped region with
  // the access asked for. Valid until OnDmaUnmapping of its region has ended.
  virtual std::byte* Memory(uint64_t iova, uint64_t bytes, bool write) const = 0;

  // Signals a vector of INTx or MSI-X if the client has given it an eventfd. INTx is held while
  // masked, and signalled at unmasking if LowerIntx() has not been called.
  virtual void Trigger(int irq_index, uint32_t vector) = 0;
  virtual void LowerIntx() = 0;
};

}  // namespace pollux::vfio_user
