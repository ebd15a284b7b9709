#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/clock.h"
#include "core/spec/ioat_spec.h"
#include "drivers/ioat/ioat.h"
#include "drivers/pci/dma_map.h"
#include "drivers/pci/pci_device.h"

namespace pollux::ioat {

// A DMA engine and its ring of descriptors. Its owner, one thread, calls all of it but what says
// otherwise, and touches its registers alone.
//
//   kDown --Start()--> kQuieting --> kResetting --> kStarting --> kRunning
//                          ^             |   ^          |            |
//                          |             |   +----------+------------+-- error, stall, Reset()
//                          |             |                           |
//                          |             |   +-- Resume() --- kSuspended <-- kSuspending
//                          |             +--> kOut
//
// Nothing of that waits: each state has a deadline, and Poll() looks. What ends without having been
// completed ends only after the reset, or with the device kept off the bus: it may not write into
// memory that its owner has taken back.
//
// The ring is linked once. Positions count up for ever; their place is the position modulo the
// ring. Two places stay empty, so that the descriptor that was last reported, and its second half,
// are never in flight: a status that names any other that is not in flight is a lie, and the
// channel leaves service.
class alignas(64) IoatChannel {
 public:
  struct Parts {
    unsigned number = 0;
    uint32_t descriptors = 1024;  // A power of two, up to 32768: DMACOUNT has 16 bits.
    Descriptor* ring = nullptr;   // And where the device finds it, in one piece.
    uint64_t ring_iova = 0;
    std::byte* status = nullptr;  // 8 bytes, in a cache line of their own.
    uint64_t status_iova = 0;
    std::byte* doorbell = nullptr;  // DMACOUNT, mapped; or null.
    pci::PciDevice* device = nullptr;
    pci::DmaMap* dma = nullptr;
    const Clock* clock = nullptr;
    uint64_t transfer_bytes_max = 1 << 20;
    bool fill = false, xor_ = false, pq = false;
    uint64_t timeout_ns = 2000 * kNsPerMs;
    const std::atomic<bool>* gone = nullptr;  // Set by the control thread.
    // Keeps the device off the bus: after it, nothing is written to memory.
    std::function<void()> cut;
    // Clears CHANERR_INT, in configuration space.
    std::function<void()> clear_error_interrupt;
  };
  explicit IoatChannel(const Parts& parts);
  ~IoatChannel();  // Nothing is in flight.
  IoatChannel(const IoatChannel&) = delete;
  IoatChannel& operator=(const IoatChannel&) = delete;

  bool taken = false;  // The control thread's.

  void Start();
  // Stops it: a reset, without starting anew.
  void Stop();
  bool starting() const {
    return state_ == State::kQuieting || state_ == State::kResetting || state_ == State::kStarting;
  }
  bool running() const { return state_ == State::kRunning; }
  bool out() const { return state_ == State::kOut || state_ == State::kDown; }

  // As ioat.h has them.
  int Poll();
  void Ring();
  int Reset();
  int Suspend();
  int Resume();
  enum pollux_ioat_state state() const;
  const char* reason() const { return reason_.load(std::memory_order_relaxed); }
  uint32_t room() const { return capacity() - (head_ - tail_); }
  bool idle() const { return head_ == tail_; }
  void ReadStatistics(pollux_ioat_statistics& into) const;

  int Copy(pollux_ioat_request& request, void* destination, const void* source, size_t bytes);
  int CopyPieces(pollux_ioat_request& request, const iovec* destinations,
                 uint32_t destination_count, const iovec* sources, uint32_t source_count);
  int Fill(pollux_ioat_request& request, void* destination, uint64_t pattern, size_t bytes);
  int Fence(pollux_ioat_request& request);
  // XOR, or P and Q where `coefficients` is not null. `targets`: the destination, or P and Q.
  struct Parity {
    uint32_t opcode = 0;
    const void* targets[2] = {};
    const void* const* sources = nullptr;
    const uint8_t* coefficients = nullptr;
    uint32_t count = 0;
    size_t bytes = 0;
  };
  int MakeParity(pollux_ioat_request& request, const Parity& parity);

 private:
  enum class State : uint8_t {
    kDown,
    kQuieting,
    kResetting,
    kStarting,
    kRunning,
    kSuspending,
    kSuspended,
    kOut
  };
  // What is to become of the requests in flight once the reset has ended.
  enum class Plan : uint8_t {
    kResume,     // All are executed; again, where they had begun.
    kSkipFirst,  // The first has failed; the others as above.
    kEndAll,     // All end, with ending_.
    kStop,       // The same, and it is not started any more.
  };
  // A place in the ring. `request` where an operation's last descriptor lies.
  struct Slot {
    pollux_ioat_request* request;
    bool extension;  // The second half of the descriptor before it: never reported by itself.
  };
  // Counted by the owner, read by anyone.
  class Counter {
   public:
    void Add(uint64_t n) { value_.store(Get() + n, std::memory_order_relaxed); }
    uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

   private:
    std::atomic<uint64_t> value_{0};
  };
  class Writer;  // operations.cc.

  uint32_t capacity() const { return mask_ - 1; }
  int Refusal() const;
  // How many bytes from there on are one piece for the device, at most `bytes`; 0: unknown memory.
  static size_t Locate(pci::DmaView& view, const void* address, size_t bytes, uint64_t& iova);

  uint64_t StatusWord() const;
  uint64_t IovaOf(uint32_t position) const {
    return parts_.ring_iova + (position & mask_) * kDescriptorBytes;
  }
  void WriteDoorbell();
  int TakeCompletions() { return TakeStatus(StatusWord()); }
  int TakeStatus(uint64_t status);
  int EndUpTo(uint32_t end, pollux_ioat_completion completion);

  // channel_recovery.cc.
  void Enter(State next, uint64_t limit_ns);
  void EnterRunning();
  int Advance();
  int LookWhenIdle();
  void BeginReset(Plan plan, pollux_ioat_completion ending, const char* why);
  void WriteReset();
  int AfterReset();
  int LeaveService(const char* why);
  int GoOut();
  void OnHalted();
  void Arm();
  bool Gone() const { return parts_.gone->load(std::memory_order_relaxed); }

  template <typename T>
  T Read(Reg<T> reg);
  template <typename T>
  void Write(Reg<T> reg, T value);

  // --- Submission.
  State state_ = State::kDown;
  bool polling_ = false;
  const uint32_t mask_;
  uint32_t head_ = 0;     // Where the next descriptor goes.
  uint32_t rung_ = 0;     // Up to there the device knows.
  uint32_t tail_ = 0;     // The first in flight.
  uint32_t chained_ = 0;  // Where the chain began: DMACOUNT is rung_ - chained_.
  Descriptor* const ring_;
  Slot* const slots_;
  const uint64_t transfer_max_;
  pci::DmaView to_, from_;  // Destinations and sources: each has its own neighbourhood.

  // --- Completion.
  alignas(64) uint64_t last_status_ = 0;  // As it was when it was last looked at.
  Counter submitted_, completed_, failed_, descriptors_, doorbells_, polls_, idle_polls_, errors_,
      resets_;

  // --- Recovery.
  const Parts parts_;
  const std::unique_ptr<Slot[]> slot_memory_;
  Plan plan_ = Plan::kEndAll;
  pollux_ioat_completion ending_{};
  uint64_t deadline_ns_ = 0;
  uint64_t progress_ns_ = 0;  // When something was last completed. 0: not known.
  uint64_t next_look_ns_ = 0;
  uint32_t idle_in_a_row_ = 0;
  uint32_t failures_in_a_row_ = 0;  // Stalls without a completion between.
  std::atomic<const char*> reason_{""};
};

}  // namespace pollux::ioat

struct pollux_ioat_channel final : pollux::ioat::IoatChannel {
  using IoatChannel::IoatChannel;
};
