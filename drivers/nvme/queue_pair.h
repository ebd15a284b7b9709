#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/spec/nvme_spec.h"
#include "drivers/nvme/nvme.h"
#include "drivers/pci/dma_map.h"
#include "drivers/pci/pci_device.h"

namespace pollux::nvme {

class Injections;

// A submission queue and its completion queue, admin or I/O. Base §3.3.
//
// Its owner, one thread, submits, rings and polls; nothing of that locks or allocates. The control
// thread makes it, and speaks to the owner through the gate alone:
//
//   kOpen --Close()--> kClosed --Drain()--> kDraining --owner--> kDrained --Reopen()--> kOpen
//                         |                                          |
//                         +---------------- Kill() ------------------+--> kDead
//
// Closed: submissions are refused, completions still come. The control thread then makes sure that
// the device writes no more (it is disabled, or may not master the bus), and drains: at its next
// poll the owner ends what is in flight, with the status that Drain() gave, and empties the rings.
// A dead queue drains in the same way and stays closed.
//
// There are depth - 1 slots, since a ring filled to depth would look empty (§3.3.1.2). A slot is
// free again only when its command has completed, so neither ring can overflow, and the head that
// the device reports need not be followed. A command identifier is a slot and a generation: a
// completion that comes late, or twice, is a stray and not somebody else's.
class QueuePair {
 public:
  // What the queue lies in. All of it outlives the queue.
  struct Parts {
    uint16_t id = 0;     // 0: the admin queue.
    uint16_t depth = 0;  // 2 at least.
    uint16_t vector = 0;
    SubmissionEntry* sq = nullptr;
    CompletionEntry* cq = nullptr;
    uint64_t sq_iova = 0, cq_iova = 0;
    // One list (PRP list or SGL segment) of list_bytes per slot, and where the device finds it.
    std::byte* lists = nullptr;
    uint64_t lists_iova = 0;
    uint32_t list_bytes = 4096;
    uint32_t page_bytes = 4096;  // CC.MPS.
    bool sgl = false;            // I/O data by SGL where that is shorter than PRP or PRP cannot.
    bool sgl_dword_aligned = false;
    // Doorbells: mapped, or by calls to the device.
    std::byte* sq_doorbell = nullptr;
    std::byte* cq_doorbell = nullptr;
    pci::PciDevice* device = nullptr;  // Used where the two are null.
    uint64_t sq_doorbell_offset = 0, cq_doorbell_offset = 0;
    // Shadow doorbells and event indices (Base annex B.5), or null.
    Le32 *shadow_sq = nullptr, *shadow_cq = nullptr, *event_sq = nullptr, *event_cq = nullptr;
    pci::DmaMap* dma = nullptr;
    int event_fd = -1;
  };
  explicit QueuePair(const Parts& parts);
  ~QueuePair();  // Nothing is in flight.
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  uint16_t id() const { return parts_.id; }
  uint16_t depth() const { return parts_.depth; }
  const Parts& parts() const { return parts_; }

  // --- The owner.

  // Memory for a command: pieces that together are its data, and its metadata.
  struct Data {
    const iovec* pieces = nullptr;
    uint32_t count = 0;
    void* metadata = nullptr;
    size_t metadata_bytes = 0;
  };
  // `entry` with all but identifier and data pointer. Returns 0 or a negative errno with nothing
  // queued, as nvme.h has it.
  int Submit(pollux_nvme_request& request, const SubmissionEntry& entry, const Data& data);
  // The same for data that lies in the slot's list: Dataset Management, Copy. `bytes` are copied.
  int SubmitInline(pollux_nvme_request& request, const SubmissionEntry& entry, const void* data,
                   size_t bytes);
  void Ring();
  int Poll(int completions_max);
  bool PrepareSleep();
  void CheckTimeouts(uint64_t now_ns);
  int Abort(pollux_nvme_request& request);
  uint32_t room() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t in_flight() const { return parts_.depth - 1u - room(); }

  // --- The control thread.

  enum class Gate : uint8_t { kOpen, kClosed, kDraining, kDrained, kDead };
  Gate gate() const { return gate_.load(std::memory_order_acquire); }
  // Made closed; the first Reopen() follows when the device knows the queue.
  void Close();
  void Drain(uint16_t status);
  void Kill(uint16_t status);
  void Reopen();
  // A queue that nobody has taken is polled by the control thread, as its owner.
  bool taken = false;
  // The CID of a command that is to be aborted, once; -1: none. The controller sends the Abort.
  int TakeAbortWish();
  void AbortEnded();  // Another wish may be made.
  // Set once before the queue opens: what CheckTimeouts() does. 0: nothing ever times out.
  void SetTimeout(uint64_t timeout_ns, pollux_nvme_timeout_action action);
  // True once after a time-out whose abort did not help, or which asks for a reset by itself.
  bool TakeResetWish();
  // Commands that timed out since the last call: queue << 16 | CID. 0: none.
  uint32_t TakeTimeoutNotice();
  // Faults for tests, or null. Takes effect at the next poll.
  void SetInjections(std::shared_ptr<const Injections> injections);

  // --- Any thread.
  void ReadStatistics(pollux_nvme_queue_statistics& into) const;

 private:
  // ... by the implementation, hot members first, with a layout test.
  Parts parts_;
  std::atomic<Gate> gate_{Gate::kClosed};
  std::vector<uint16_t> free_;
};

}  // namespace pollux::nvme

struct pollux_nvme_queue final : pollux::nvme::QueuePair {
  using QueuePair::QueuePair;
};
