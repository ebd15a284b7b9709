#pragma once
#include <array>
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>

#include "core/block/io_request.h"
#include "core/block/io_timeout.h"
#include "core/block/io_watch.h"
#include "core/clock.h"
#include "core/reactors.h"

namespace pollux {

class BlockDevice;
class CompareAndWriter;
class IoSplitter;
class RateGate;
struct RateBuckets;

// What a channel counts. One writer, its reactor; readers load relaxed and add up.
struct IoCounters {
  struct PerType {
    std::atomic<uint64_t> operations{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> latency_ns{0};
    std::atomic<uint64_t> latency_max_ns{0};
    std::atomic<uint64_t> latency_min_ns{0};  // 0: none yet.
  };
  PerType read, write,
      unmap;  // Write zeroes and compare-and-write count as write; compare as read.
  std::array<std::atomic<uint64_t>, kIoStatusCount> errors{};  // By IoStatus; [0] stays 0.
  std::atomic<uint64_t> timed_out{0};  // Took longer than was set; see io_timeout.h.
};

// A device's own buffers, lent to somebody who reads from them or writes into them instead of
// copying. Give it back with BlockChannel::Return, on the same reactor. It is counted as an I/O
// that lasts as long as the loan, from stage to stage of the loop's turns; the borrower's peer has
// a part in that: until data that is read was sent, or data to be written has come.
struct Loan {
  bool write = false;  // The borrower writes: the data is on the device when it is given back.
  IoSource source = IoSource::kOther;
  uint64_t lba = 0;
  uint64_t blocks = 0;
  iovec parts[4] = {};
  size_t part_count = 0;  // 0: nothing is lent.
  uint64_t lent_ns = 0;   // Set by TryLend.
};

// A device's side of one reactor: where I/O is submitted. Made with the device, on every reactor;
// touched by its reactor alone. Drivers derive from it.
//
// Submit checks the request against the device (type, range, data length, read-only, state), counts
// it, splits it at the device's limits, and hands it or its parts to DoSubmit. What ends is
// finished in the deferred stage, all of a turn together, under one reading of the clock.
class BlockChannel {
 public:
  // A removal waits so long for what is in flight, then aborts it.
  static constexpr uint64_t kRemovalPatienceNs = 10 * kNsPerSecond;

  BlockChannel(BlockDevice& device, Reactor& reactor);
  virtual ~BlockChannel();
  BlockChannel(const BlockChannel&) = delete;
  BlockChannel& operator=(const BlockChannel&) = delete;

  // Takes the request. Whatever is wrong with it comes back through OnComplete, never from here.
  void Submit(IoRequest& request);

  // Lends the blocks when the device can do so at once; false otherwise, and the caller submits an
  // I/O with buffers of its own. The range is checked as in Submit.
  bool TryLend(Loan& loan);
  void Return(Loan& loan);

  Reactor& reactor() const { return reactor_; }
  // What a reactor needs of the device; changed on this reactor when the device is resized.
  uint32_t block_bytes() const { return block_bytes_; }
  uint32_t data_block_bytes() const { return data_block_bytes_; }  // See Geometry.
  uint64_t blocks() const { return blocks_; }
  // Requests whose OnComplete has not run. Parts do not count.
  size_t in_flight() const { return in_flight_.size() + held_.size() + paced() + ended_count_; }
  size_t loans() const { return loans_; }
  const IoCounters& counters() const { return counters_; }
  // What is kept beyond the counters. On this channel's reactor, like all that follows.
  IoWatch& watch() { return watch_; }
  // In place of the one that was set before.
  void SetTimeout(IoTimeout timeout, DeviceRegistry& devices, Loop& home);
  // Forgets the least and the greatest latency so far.
  void ResetExtremes() {
    for (IoCounters::PerType* type : {&counters_.read, &counters_.write, &counters_.unmap}) {
      type->latency_max_ns.store(0, std::memory_order_relaxed);
      type->latency_min_ns.store(0, std::memory_order_relaxed);
    }
  }

 protected:
  // Executes one request that was checked. It ends with Complete(request, status), at once or
  // later; OnComplete then runs in the deferred stage of the turn, never from within.
  virtual void DoSubmit(IoRequest& request) = 0;
  virtual bool DoLend(Loan& loan) { return static_cast<void>(loan), false; }
  virtual void DoReturn(Loan& loan) { static_cast<void>(loan); }
  // Stops a request that DoSubmit was given: Complete(target, kAborted) from within, and true.
  // False when it can only end by itself; by default it can not be stopped.
  virtual bool TryAbort(IoRequest& target) { return static_cast<void>(target), false; }
  // The device is going: a request that would not end by itself, or not soon, is ended here.
  virtual void OnRemoving() {}

  void Complete(IoRequest& request, IoStatus status);
  // The one that executes a request: the pointer need not be kept beside it.
  static BlockChannel& ChannelOf(const IoRequest& request) { return *request.channel_; }

 private:
  friend class BlockDevice;
  friend class CompareAndWriter;
  friend class DeviceRegistry;
  friend class IoSplitter;
  friend class IoTimeoutWatch;
  friend class RangeLock;
  friend class RateGate;

  // Finishes what has ended in this turn.
  class Finisher final : public Deferred {
   public:
    explicit Finisher(BlockChannel& channel) : channel_(channel) {}
    void RunDeferred() override { channel_.FinishEnded(); }

   private:
    BlockChannel& channel_;
  };
  // Aborts what still runs when a removal takes too long.
  class RemovalTimer final : public Timer {
   public:
    explicit RemovalTimer(BlockChannel& channel) : channel_(channel) {}
    void OnTimer() override { channel_.AbortAll(); }

   private:
    BlockChannel& channel_;
  };
  // co_await channel.Drained(): until nothing is in flight and nothing is lent. On the reactor.
  struct Drained {
    BlockChannel& channel;
    bool await_ready() const noexcept { return channel.IsDrained(); }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { channel.AwaitDrain(waiter); }
    void await_resume() noexcept {}
  };

  // The common case, in few instructions: a read, write or compare of one segment, which needs no
  // splitting, while nothing is special about the channel.
  bool IsPlain(const IoRequest& request) const;
  void UpdatePlain();
  void SubmitOther(IoRequest& request);
  // Goes on with one that had to wait.
  void Continue(IoRequest& request);
  void Proceed(IoRequest& request);
  IoStatus Check(const IoRequest& request) const;
  IoStatus CheckData(const IoRequest& request) const;
  bool FitsWhole(const IoRequest& request) const;
  bool MustHold(const IoRequest& request) const;
  // Passes on a request, or a piece of one, that was checked.
  void Start(IoRequest& request);
  void StartSpecial(IoRequest& request);
  void StartReset(IoRequest& reset);
  void StartAbort(IoRequest& abort);
  void ReleaseHeld();

  void FinishEnded();
  template <bool kWatched>
  void FinishAll();
  void CountTimedOut(uint64_t count);
  template <bool kWatched>
  inline void Count(const IoRequest& request);
  void AfterReturn(const Loan& loan, uint64_t now_ns);

  bool Stop(IoRequest& request);  // Whether it ends with kAborted.
  void AbortAll();
  // What waits for something to end looks again. Called only when attention_ is set.
  void Attend();

  // For RangeLock: holds new I/O on the range back, and calls the lock when the old has ended.
  void LockRange(uint64_t lba, uint64_t blocks);
  void UnlockRange();
  bool HasOverlapInFlight() const;

  // For DeviceRegistry. Null: as fast as it can.
  void Limit(RateBuckets* buckets);
  void Resize(uint64_t blocks);
  void StartRemoving();
  bool IsDrained() const;
  void AwaitDrain(std::coroutine_handle<> waiter);
  size_t paced() const;  // How many wait for the device's limits.

  BlockDevice& device_;
  Reactor& reactor_;
  uint32_t block_bytes_ = 0;
  uint32_t data_block_bytes_ = 0;
  uint64_t blocks_ = 0;
  uint32_t supported_ = 0;  // Bit by IoType.
  uint32_t segments_max_ = UINT32_MAX;
  uint32_t boundary_blocks_ = 0;
  bool separate_metadata_ = false;
  bool read_only_ = false;
  bool native_flush_ = false;
  bool native_reset_ = false;
  bool native_compare_and_write_ = false;
  uint64_t compare_and_write_blocks_max_ = UINT64_MAX;
  // The most blocks that go to the device in one piece, by IoType. 0: never as it is.
  std::array<uint64_t, kIoTypeCount> whole_blocks_max_{};
  // The same for IsPlain: 0 also while the channel is in a special state. No more than the device.
  std::array<uint64_t, kIoTypeCount> plain_blocks_max_{};

  bool removing_ = false;
  bool resetting_ = false;
  bool range_locked_ = false;
  bool lock_wanted_ = false;  // Locked, and the lock has not been told that the old I/O has ended.
  bool attention_ = false;    // One of: resetting_, lock_wanted_, drain_waiter_.
  uint64_t locked_lba_ = 0, locked_blocks_ = 0;
  size_t loans_ = 0;
  uint64_t now_ns_ = 0;  // While what ended is finished; otherwise 0.
  size_t ended_count_ = 0;

  using RequestList = IntrusiveList<IoRequest, &IoRequest::node_>;
  RequestList in_flight_;  // What was started and has not ended.
  RequestList held_;       // What may not start yet.
  RequestList ended_;      // With pieces of requests.
  Finisher finisher_{*this};
  RemovalTimer removal_timer_{*this};
  std::coroutine_handle<> drain_waiter_;
  std::unique_ptr<RateGate> rate_gate_;  // While the device has limits.
  std::unique_ptr<IoSplitter> splitter_;
  std::unique_ptr<CompareAndWriter> compare_and_writer_;
  IoWatch watch_;
  std::unique_ptr<IoTimeoutWatch> timeout_watch_;
  IoCounters counters_;
  // Where a type counts, or null.
  const std::array<IoCounters::PerType*, kIoTypeCount> counters_of_{
      &counters_.read,   // kRead
      &counters_.write,  // kWrite
      nullptr,           // kFlush
      &counters_.unmap,  // kUnmap
      &counters_.write,  // kWriteZeroes
      &counters_.read,   // kCompare
      &counters_.write,  // kCompareAndWrite
  };
};

}  // namespace pollux
