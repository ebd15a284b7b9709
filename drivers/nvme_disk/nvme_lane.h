#pragma once
#include "drivers/nvme_disk/nvme_channel.h"
#include "drivers/nvme_disk/nvme_queue.h"

namespace pollux {

// A channel's way over one path.
class NvmeChannel::Lane final : public NvmeQueue::Client {
 public:
  // What a lane is good for, best first.
  enum Rank : int { kOptimized, kNonOptimized, kAwaited, kChanging, kRefusing, kNoUse };

  Lane(NvmeChannel& channel, const NvmeRoute& its_route, NvmeQueue& its_queue, size_t its_index)
      : route(its_route),
        queue(its_queue),
        ns(its_route.ns),
        index(static_cast<uint8_t>(its_index)),
        channel_(channel) {
    queue.Join(*this);
  }
  ~Lane() { queue.Quit(*this); }

  Rank rank() const;
  bool TakesIo() const { return rank() <= kNonOptimized; }
  // The io changes something, and may be executed yet; OnSettled() is called when no more.
  void Keep(Io& io);
  // The request has ended well.
  void Count(const IoRequest& request);

  const NvmeRoute& route;
  NvmeQueue& queue;
  const pollux_nvme_namespace* ns;
  const uint8_t index;
  NvmeAccess access = NvmeAccess::kOptimized;
  bool closed = false;
  bool failing = false;  // It refused I/O for good; until its condition changes.
  NvmePathCounters counters;

 private:
  void OnCondition() override;
  void OnSettled() override;

  NvmeChannel& channel_;
  // While they are not settled: those that the question under way is about, and later ones.
  NvmeCommand::Line asked_, lost_;
};

// Looks again after a while, whatever else may wake those who wait.
class NvmeChannel::Reviver final : public Timer {
 public:
  explicit Reviver(NvmeChannel& channel) : channel_(channel) {}
  void OnTimer() override { channel_.Revive(); }

 private:
  NvmeChannel& channel_;
};

}  // namespace pollux
