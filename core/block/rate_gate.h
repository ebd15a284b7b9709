#pragma once
#include <cstdint>

#include "core/block/io_request.h"
#include "core/block/rate_lease.h"
#include "core/loop.h"

namespace pollux {

class BlockChannel;

// Lets the I/O of one channel through as fast as the limits of its device allow; what comes too
// early stands in line. Reads and writes have a line each, so that a limit of the one does not hold
// up the other. What reads or changes blocks counts as an I/O; only what moves data counts bytes. A
// request that is larger than what there is in a second waits until it has been made up for.
class RateGate {
 public:
  // The buckets outlive their use.
  RateGate(BlockChannel& channel, RateBuckets& buckets);
  ~RateGate();  // With nobody in line.

  // From now on by other limits: who waits does so anew.
  void Use(RateBuckets& buckets);
  // Whether the request, which was just submitted, may go on at once. Otherwise it stands in line,
  // and BlockChannel::Continue gets it when it may.
  bool Pass(IoRequest& request);
  // The same for a loan, which never waits.
  bool TryPass(bool write, uint64_t bytes, uint64_t now_ns);
  void Leave(IoRequest& request);
  // Lets everybody in line go on.
  void Open();
  // Somebody in line; null when nobody is.
  IoRequest* Front();
  // Calls `see(request)` for everybody in line.
  template <typename See>
  void ForEach(See see) {
    for (Direction& direction : directions_) {
      for (IoRequest* r = direction.line.Front(); r != nullptr; r = direction.line.Next(*r)) {
        see(*r);
      }
    }
  }
  size_t waiting() const { return directions_[0].line.size() + directions_[1].line.size(); }

 private:
  // Requests of one direction, in order of arrival, and what may be spent on them.
  struct alignas(64) Direction final : Timer {
    explicit Direction(RateGate& g) : gate(g) {}
    void OnTimer() override { gate.OnDue(*this); }

    RateGate& gate;
    RateLease ios, bytes, own_bytes;
    uint64_t due_ns = 0;  // When the first in line may go on.
    IntrusiveList<IoRequest, &IoRequest::node_> line;
  };

  static bool TrySpend(Direction& direction, uint64_t bytes);
  // When the direction may do an I/O of so many bytes.
  static uint64_t ReadyAt(Direction& direction, uint64_t bytes, uint64_t now_ns);
  [[gnu::noinline]] bool Enter(Direction& direction, IoRequest& request, uint64_t bytes);
  void OnDue(Direction& direction);
  void Serve(Direction& direction);
  void WaitUntil(Direction& direction, uint64_t ready_ns);
  Direction& DirectionOf(const IoRequest& request);
  uint64_t BytesOf(const IoRequest& request) const;

  BlockChannel& channel_;
  const uint64_t block_bytes_;
  Direction directions_[2] = {Direction(*this), Direction(*this)};  // Reads, writes.
};

}  // namespace pollux
