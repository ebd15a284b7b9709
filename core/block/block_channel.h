#pragma once
#include <atomic>
#include <cstdint>

#include "core/block/io_request.h"
#include "core/reactors.h"

namespace pollux {

class BlockDevice;
struct Geometry;

// What a channel counts. One writer, its reactor; readers load relaxed and add up.
struct IoCounters {
  struct PerType {
    std::atomic<uint64_t> operations{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> latency_ns{0};
    std::atomic<uint64_t> latency_max_ns{0};
    std::atomic<uint64_t> latency_min_ns{0};  // 0: none yet.
  };
  PerType read, write, unmap;  // Write zeroes counts as write; compare as read.
  std::array<std::atomic<uint64_t>, kIoStatusCount> errors{};  // By IoStatus; [0] stays 0.
};

// A device's own buffers, lent to somebody who reads from them or writes into them instead of
// copying. Give it back with BlockChannel::Return, on the same reactor.
struct Loan {
  bool write = false;  // The borrower writes: the data is on the device when it is given back.
  uint64_t lba = 0;
  uint64_t blocks = 0;
  iovec parts[4] = {};
  size_t part_count = 0;  // 0: nothing is lent.
};

// A device's side of one reactor: where I/O is submitted. Made with the device, on every reactor;
// touched by its reactor alone. Drivers derive from it.
//
// Submit checks the request against the device (type, range, data length, read-only, state), counts
// it, splits it at the device's limits, and hands the parts to DoSubmit.
class BlockChannel {
 public:
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
  uint64_t blocks() const { return blocks_; }
  size_t in_flight() const { return in_flight_.size(); }
  const IoCounters& counters() const { return counters_; }

 protected:
  // Executes one request that was checked. It ends with Complete(request, status), at once or
  // later; OnComplete then runs in the deferred stage of the turn, never from within.
  virtual void DoSubmit(IoRequest& request) = 0;
  virtual bool DoLend(Loan& loan) { return static_cast<void>(loan), false; }
  virtual void DoReturn(Loan& loan) { static_cast<void>(loan); }
  // kAbort: the target's Complete(kAborted) if it can still be stopped. By default it cannot.
  virtual bool TryAbort(IoRequest& target) { return static_cast<void>(target), false; }

  void Complete(IoRequest& request, IoStatus status);

 private:
  friend class DeviceRegistry;
  friend class IoRequest;
  IoStatus Check(const IoRequest& request) const;
  void Finish(IoRequest& request);

  BlockDevice& device_;
  Reactor& reactor_;
  uint32_t block_bytes_ = 0;
  uint64_t blocks_ = 0;
  bool removing_ = false;
  bool read_only_ = false;
  size_t loans_ = 0;
  IntrusiveList<IoRequest, &IoRequest::in_flight_node_> in_flight_;
  IoCounters counters_;
};

}  // namespace pollux
