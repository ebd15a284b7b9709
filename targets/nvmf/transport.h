#pragma once
#include <cstdint>
#include <string>

#include "core/net/address.h"
#include "core/status.h"
#include "core/task.h"
#include "targets/nvmf/queue.h"

namespace pollux::nvmf {

class Worker;

// nvmf_create_transport, with SPDK's names, and its defaults where the comment names no other.
struct TransportOptions {
  std::string trtype = "TCP";
  uint16_t max_queue_depth = 128;          // 16 to 1024
  uint16_t max_io_qpairs_per_ctrlr = 127;  // 1 to 127
  uint32_t in_capsule_data_size = 8192;    // SPDK: 4096. A multiple of 16, at most 8192.
  uint32_t max_io_size = 131072;           // A power of two times 4096, up to 1 MiB.
  uint16_t max_aq_depth = 128;             // 32 to 1024
  bool c2h_success = true;
  bool dif_insert_or_strip = false;  // Not offered: refused when it is asked for.
  bool zcopy = false;                // Without effect: disks lend their memory whenever they can.
  uint32_t sock_priority = 0;
  uint32_t abort_timeout_sec = 1;
  uint16_t kas = 100;         // Granularity of keep alive, in units of 100 ms.
  uint32_t min_kato = 10000;  // ms
  // Buffers of each reactor; UINT32_MAX: as many as the target has. Accepted for SPDK's scripts.
  uint32_t iobuf_small_cache_size = UINT32_MAX;
  uint32_t iobuf_large_cache_size = UINT32_MAX;
};
Status Validate(const TransportOptions& options);

// Carries queues: TCP. (A vfio-user transport will come.) Control loop only.
class Transport {
 public:
  // What a transport needs of the target.
  class Host {
   public:
    // Where the next connection shall live: the reactor with the least to do.
    virtual Worker& LeastBusyWorker() = 0;

   protected:
    ~Host() = default;
  };

  virtual ~Transport() = default;
  virtual const TransportOptions& options() const = 0;

  // Opens an address. `listener_id` is the target's name for it; queues of its connections bear
  // it. The answer has the port that the kernel chose where 0 was asked for.
  virtual Result<SocketAddress> Listen(uint32_t listener_id, const SocketAddress& address) = 0;
  // Closes it. Connections stay, until their queues end.
  virtual void StopListening(uint32_t listener_id) = 0;
  // Ends the connections that came through it, or all (0), and returns when they are gone.
  virtual Task<void> CloseConnections(uint32_t listener_id, const char* reason) = 0;
};

}  // namespace pollux::nvmf
