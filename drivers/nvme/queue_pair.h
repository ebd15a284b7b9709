#pragma once
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/spec/nvme_spec.h"
#include "core/unique_fd.h"
#include "drivers/nvme/data_pointer.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/queue_wire.h"
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
class alignas(64) QueuePair {
 public:
  // What the queue lies in. All of it outlives the queue. Slots are numbered from 1, so that no
  // identifier is 0, nor FFFFh, which means none to the error log (Base figure 206).
  struct Parts {
    uint16_t id = 0;     // 0: the admin queue.
    uint16_t depth = 0;  // 2 at least.
    uint16_t vector = 0;
    SubmissionEntry* sq = nullptr;
    CompletionEntry* cq = nullptr;
    uint64_t sq_iova = 0, cq_iova = 0;
    // One list (PRP list or SGL segment) of list_bytes per slot, depth - 1 of them, and where the
    // device finds them. list_bytes is a power of two, at most a page; the lists are aligned to it.
    std::byte* lists = nullptr;
    uint64_t lists_iova = 0;
    uint32_t list_bytes = 4096;
    uint32_t page_bytes = 4096;  // CC.MPS.
    bool sgl = false;            // I/O data by SGL where that is shorter than PRP or PRP cannot.
    bool sgl_dword_aligned = false;
    // Behind the rings, where no device reaches them: then there are no doorbells, every data
    // pointer is an SGL, and there is no metadata pointer. Outlives the queue.
    QueueWire* wire = nullptr;
    // Doorbells: mapped, or by calls to the device.
    std::byte* sq_doorbell = nullptr;
    std::byte* cq_doorbell = nullptr;
    pci::PciDevice* device = nullptr;  // Used where the two are null.
    uint64_t sq_doorbell_offset = 0, cq_doorbell_offset = 0;
    // Shadow doorbells and event indices (Base annex B.5), or null.
    Le32 *shadow_sq = nullptr, *shadow_cq = nullptr, *event_sq = nullptr, *event_cq = nullptr;
    pci::DmaMap* dma = nullptr;
    int event_fd = -1;  // A set (event_set.h). Drain() and Kill() wake who sleeps on it.
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
  // queued, as nvme.h has it. Without data, the PRP entries of `entry` stand.
  int Submit(pollux_nvme_request& request, const SubmissionEntry& entry, const Data& data);
  // The same for data that lies in the slot's list: Dataset Management, Copy. `bytes` are copied.
  int SubmitInline(pollux_nvme_request& request, const SubmissionEntry& entry, const void* data,
                   size_t bytes);
  // As nvme.h has them.
  void Ring();
  int Poll(int completions_max);
  bool PrepareSleep();
  // But for requests whose reserved[0] is kNeverLate: those for asynchronous events.
  void CheckTimeouts(uint64_t now_ns);
  static constexpr uint64_t kNeverLate = 1;
  int Abort(pollux_nvme_request& request);
  uint32_t room() const { return static_cast<uint32_t>(free_top_ - free_); }
  uint32_t in_flight() const { return depth_ - 1u - room(); }

  // Submit() in steps, for who builds the entry where it lies in the ring. Nothing has happened
  // before Commit(): an error in between is simply returned.
  //
  //   if (const int error = queue.Admit(fuse)) return error;
  //   SubmissionEntry& entry = queue.next_entry();    // Holds an old command: all of it but the
  //   ...                                             // identifier is written anew.
  //   if (const int error = queue.PointTo(entry, pieces, count)) return error;
  //   queue.Commit(request, entry);
  int Admit(uint8_t fuse);
  int Admit(uint8_t /*opc*/, uint8_t fuse) { return Admit(fuse); }
  SubmissionEntry& next_entry() { return *sq_next_; }
  // Data pointer and PSDT; the rest of `entry.flags` is there already.
  int PointTo(SubmissionEntry& entry, const iovec* pieces, uint32_t count);
  int PointToMetadata(SubmissionEntry& entry, const void* metadata, uint64_t bytes);
  void Commit(pollux_nvme_request& request, SubmissionEntry& entry);

  // The same for the common case, without a call: false when it is another one.
  bool AdmitPlain() const {
    return gate_.load(std::memory_order_acquire) == Gate::kOpen && free_top_ > plain_floor_;
  }
  bool PointToPlain(SubmissionEntry& entry, const void* data, uint64_t bytes) const {
    return PointToTwoPages(entry, view_, page_bytes_, data, bytes);
  }
  // Over a wire, which takes any piece as one SGL descriptor.
  bool AdmitPlainOverWire() const {
    return gate_.load(std::memory_order_acquire) == Gate::kOpen && free_top_ > wire_floor_;
  }
  bool PointToPieceOverWire(SubmissionEntry& entry, const void* data, uint64_t bytes) const {
    uint64_t address = 0;
    if (!view_.TranslateNear(data, bytes, address)) return false;
    entry.prp1 = address;
    entry.prp2 = bytes | uint64_t{kSglDataBlock} << 56;
    return true;
  }
  // After AdmitPlain() or AdmitPlainOverWire().
  void CommitPlain(pollux_nvme_request& request, SubmissionEntry& entry) {
    Slot& slot = **--free_top_;
    const uint32_t tag = slot.next_tag;
    slot.tag = tag;
    slot.request = &request;
    slot.on_complete = request.on_complete;
    slot.watch = {};
    entry.cid = static_cast<uint16_t>(tag >> 16);
    if (++sq_next_ == sq_end_) sq_next_ = sq_;
  }

  // --- The control thread.

  enum class Gate : uint8_t { kOpen, kClosed, kDraining, kDrained, kDead };
  Gate gate() const { return gate_.load(std::memory_order_acquire); }
  // Made closed, with empty rings; the first Reopen() follows when the device knows the queue. Its
  // rings, and its shadow doorbells, are empty again as soon as it is drained.
  void Close();
  // From any gate. What the device had completed ends as it said, the rest with `status`.
  void Drain(uint16_t status);
  // From any gate. A dead queue may be drained, and then reopened.
  void Kill(uint16_t status);
  // From kDrained, or for the first time.
  void Reopen();
  // What submissions get while the queue is neither open nor dead: -EAGAIN, unless said.
  void Refuse(int error) { refusal_.store(error, std::memory_order_relaxed); }
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
  friend struct QueuePairLayout;  // The layout test.

  // A command in flight, or room for one. Two to a cache line.
  struct alignas(32) Slot {
    // As it lies in the completion entry: CID << 16 | SQ identifier. Or kIdle, or kInjected.
    uint32_t tag;
    uint32_t next_tag;  // Of the command in flight, or of the next one here.
    pollux_nvme_request* request;
    void (*on_complete)(pollux_nvme_request*, pollux_nvme_completion);  // So that it is at hand.
    struct {
      uint32_t since;  // When CheckTimeouts() first met it, or found it late. 0: not yet.
      uint32_t stage;  // kSeen...
    } watch;
  };
  static_assert(sizeof(Slot) == 32);
  static constexpr unsigned kTagToOffset = 16 - 5;
  struct alignas(64) SlotLine {
    Slot slots[2];
  };
  struct alignas(64) FreeLine {
    Slot* slots[8];
  };
  // No completion has these tags and belongs to a slot in use: no slot's number is 0 or all ones.
  static constexpr uint32_t kIdle = 0, kInjected = 0xffffffff;
  // watch.stage.
  static constexpr uint32_t kSeen = 0, kLate = 1, kAbortWished = 2, kResetWished = 3;
  // A command that meets an injection.
  struct Suffering {
    Slot* slot;
    bool answered;  // By the device, or it need not be.
    uint16_t status;
    uint64_t due_ns;
    pollux_nvme_completion completion;
  };

  // Counted by the owner, read by anyone.
  class Counter {
   public:
    void Add(uint64_t n) { value_.store(Get() + n, std::memory_order_relaxed); }
    uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

   private:
    std::atomic<uint64_t> value_{0};
  };

  // Where one of the two is told to the device.
  struct Doorbell {
    std::byte* mapped;
    uint64_t offset;
    Le32 *shadow, *event;
  };

  void Inject(Slot& slot, SubmissionEntry& entry);
  // Whether submission must look closer: then no free slot is plain.
  void SetFloor();
  PointerList NextList() const;  // Of the slot that the next command gets.

  // Places in the submission ring.
  uint16_t Tail() const { return static_cast<uint16_t>(sq_next_ - sq_); }
  uint16_t Distance(uint16_t from, uint16_t to) const;
  void RingWithRoom();
  void RingCq();
  void WriteDoorbell(const Doorbell& doorbell, uint16_t old, uint16_t value);

  uint32_t TakeCompletions(uint32_t limit);
  void TakeUnusual(Slot& slot, uint32_t tag, pollux_nvme_completion completion);
  // The slot that an identifier names. There is one for each that a device may come up with.
  Slot& SlotOf(uint32_t tag) const {
    return *reinterpret_cast<Slot*>(reinterpret_cast<std::byte*>(slots_) +
                                    ((tag >> kTagToOffset) & slot_offset_mask_));
  }
  // The slot is free again, under another identifier.
  void Free(Slot& slot) {
    slot.tag = kIdle;
    slot.next_tag += tag_step_;
    *free_top_++ = &slot;
  }
  void Finish(Slot& slot, pollux_nvme_completion completion);
  uint32_t CompleteDue(uint32_t limit);
  uint32_t EndInFlight(Gate gate, uint32_t limit);
  void EmptyRings();
  void Wake() const;
  void Watch(Slot& slot, uint32_t now, bool late);
  bool Wish(uint16_t cid);
  void TakeInjections();

  // --- The owner's, and what does not change. Submission first; a cache line each.
  std::atomic<Gate> gate_{Gate::kClosed};  // The control thread's, seldom written.
  bool polling_ = false;
  const uint16_t depth_;
  const uint32_t tag_step_;  // One generation.
  const uint64_t page_bytes_;
  SubmissionEntry* sq_next_;  // The tail.
  SubmissionEntry* const sq_;
  const SubmissionEntry* const sq_end_;
  Slot** free_top_;  // The end of a stack, so that recently used slots are warm.
  Slot** plain_floor_;

  alignas(64) pci::DmaView view_;
  Slot* slots_;
  uint32_t slot_offset_mask_;
  uint16_t cq_head_ = 0;
  uint16_t cq_phase_ = 1;   // The tag of an entry that the device wrote in this lap. §3.3.3.2.
  uint16_t cq_unrung_ = 0;  // Entries that the device does not know to be free.
  uint16_t sq_rung_ = 0;

  alignas(64) Counter submitted_;
  Counter completed_, failed_, doorbells_, polls_, idle_polls_, strays_, timeouts_;

  // --- The owner's, seldom.
  alignas(64) CompletionEntry* const cq_;
  const CompletionEntry* const cq_end_;
  QueueWire* const wire_;
  Slot** free_;        // Its beginning.
  Slot** wire_floor_;  // As plain_floor_, over a wire.
  Parts parts_;
  UniqueFd bell_;  // In the set of event_fd: rung by the control thread.
  std::unique_ptr<SlotLine[]> slot_lines_;
  std::unique_ptr<FreeLine[]> free_lines_;
  SubmissionEntry* first_fused_ = nullptr;  // The command whose second must be the next, or null.
  uint16_t drain_cursor_ = 1;
  uint32_t timeout_ = 0;  // In units of CheckTimeouts(). 0: none.
  pollux_nvme_timeout_action on_timeout_ = POLLUX_NVME_ON_TIMEOUT_NOTHING;
  std::shared_ptr<const Injections> injections_;
  std::vector<Suffering> suffering_;

  // --- Between the owner and the control thread.
  static constexpr int32_t kNoAbort = -1, kAbortUnderWay = -2;
  alignas(64) std::atomic<uint16_t> drain_status_{0};
  std::atomic<int32_t> abort_{kNoAbort};  // Or the CID that is wished to be aborted.
  std::atomic<bool> reset_wish_{false};
  std::atomic<int> refusal_{-EAGAIN};
  std::atomic<uint32_t> timeout_notice_{0};
  std::atomic<bool> injections_changed_{false};
  std::mutex injections_mutex_;  // Taken only when they change.
  std::shared_ptr<const Injections> next_injections_;
};

}  // namespace pollux::nvme

struct pollux_nvme_queue final : pollux::nvme::QueuePair {
  using QueuePair::QueuePair;
};
