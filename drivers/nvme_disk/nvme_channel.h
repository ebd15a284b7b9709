#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/block/block_channel.h"
#include "core/memory/buffer_pool.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "drivers/nvme_disk/nvme_queue.h"
#include "drivers/nvme_disk/nvme_route.h"

namespace pollux {

// How often commands ended with which status, by SCT and by SCT and SC; successes are not counted.
// One writer, the channel; any reader. SCT 4 to 7 have no codes of their own here.
struct NvmeErrorCounters {
  std::array<std::atomic<uint32_t>, 8> by_type{};
  std::array<std::array<std::atomic<uint32_t>, 256>, 4> by_code{};
};

// What the channels of one disk share. It does not change while there are channels, but for the
// last.
struct NvmeNamespaceFacts {
  uint32_t block_bytes = 512;            // Of data, interleaved metadata included.
  uint32_t separate_metadata_bytes = 0;  // Per block.
  bool protected_data = false;           // The metadata holds protection information.
  uint32_t check_flags = 0;              // POLLUX_NVME_CHECK_... for I/O that has metadata.
  bool volatile_cache = false;
  int32_t retries_max = 0;  // -1: without limit.
  bool count_errors = false;
  bool count_paths = false;
  // How many commands that change something were lost with their path, and may yet be executed.
  mutable std::atomic<uint32_t> lost_changes{0};
};

// What one reactor did over one path, where it is counted. The kinds are those of IoCounters.
struct NvmePathCounters {
  struct PerType {
    uint64_t operations = 0, bytes = 0;
    uint64_t latency_ns = 0, latency_max_ns = 0;
    uint64_t latency_min_ns = 0;  // 0: none yet.

    void Add(const PerType& more);
  };
  PerType read, write, unmap;
  uint64_t others = 0;

  NvmePathCounters& operator+=(const NvmePathCounters& more) {
    read.Add(more.read);
    write.Add(more.write);
    unmap.Add(more.unmap);
    others += more.others;
    return *this;
  }
};

// The I/O of one reactor on one disk. A request goes to the device as it is, but for memory that
// the device cannot reach and scatter lists that it cannot take: those go through a buffer of ours,
// piece by piece.
//
// It goes by one of the disk's paths, each of which has a lane here. With one lane, or one that is
// better than all others, there is nothing to choose per I/O. With none that takes I/O now, it
// waits as long as one may come back.
//
// WHAT IS LOST WITH A PATH. A command that ended without an answer may be executed later, by a
// target that we have lost. So one that changes something does not end, nor goes another way,
// before its path says that it can be executed no more (pollux_nvme_settled). Until then no other
// command that changes something is sent to the disk, by any path or reactor: a write that somebody
// was told of is never older than what a late command brings. That all such commands wait, and not
// only those that overlap, keeps reactors from having to know each other's ranges. Reads do not
// wait.
class NvmeChannel final : public BlockChannel {
 public:
  static constexpr size_t kLanesMax = 64;

  // Facts outlive the channel.
  NvmeChannel(BlockDevice& device, Reactor& reactor, const NvmeNamespaceFacts& facts,
              BufferPool& buffers);
  ~NvmeChannel() override;

  // --- For the disk, on the reactor. Routes outlive their lanes.

  // The disk has fewer than kLanesMax.
  void AddLane(const NvmeRoute& route, NvmeQueue& queue, NvmeAccess access);
  // Nothing new goes that way.
  void CloseLane(const NvmeRoute& route);
  // After CloseLane(): the namespace is there again, as route.ns. What is on its way there still,
  // of before, goes on with it.
  void ReopenLane(const NvmeRoute& route, NvmeAccess access);
  // Nothing is on its way there any more.
  void RemoveLane(const NvmeRoute& route);
  void SetAccess(const NvmeRoute& route, NvmeAccess access);
  // `preferred` may be null.
  void SetChoice(const NvmePathChoice& choice, const NvmeRoute* preferred);

  struct LaneInfo {
    const NvmeRoute* route;
    bool current, connected, accessible;
    NvmePathCounters counters;
  };
  std::vector<LaneInfo> Lanes();

  // Null unless they are counted. Any thread.
  const NvmeErrorCounters* errors() const { return errors_.get(); }

 private:
  class Lane;
  // One request under way, in its device area.
  class Io;
  // The compare and the write of one compare-and-write at a time.
  class Pair;
  class BufferLine;
  class Reviver;

  void DoSubmit(IoRequest& request) override;
  bool TryAbort(IoRequest& target) override;
  void CountError(uint16_t status);

  // nvme_lanes.cc.
  Lane* LaneOf(const NvmeRoute& route);
  // The lane for the next I/O; null: there is none now. Not `avoided` if there is another.
  Lane* ChooseLane(const Lane* avoided = nullptr);
  Lane* Pick(int rank, const Lane* avoided);
  // Whether ChooseLane() may have another answer before long.
  bool MayGetLane() const;
  // Lanes are others than they were.
  void OnLanesChanged();
  void Await(Io& io);
  // Those that wait for a lane, or for what was lost to be settled, try again.
  void Revive();
  bool HoldsChanges() const { return facts_.lost_changes.load(std::memory_order_relaxed) > 0; }

  const NvmeNamespaceFacts& facts_;
  Lane* plain_lane_ = nullptr;  // Of every I/O, as long as there is nothing to choose.
  BufferPool& buffers_;
  const uint32_t buffer_blocks_;  // What fits into a buffer, with its metadata.
  const std::unique_ptr<BufferLine> buffer_line_;
  const std::unique_ptr<Pair> pair_;
  const std::unique_ptr<NvmeErrorCounters> errors_;

  std::array<std::unique_ptr<Lane>, kLanesMax> lanes_;  // With gaps.
  std::vector<Lane*> in_order_;                         // Of arrival.
  NvmePathChoice choice_;
  const NvmeRoute* preferred_ = nullptr;
  Lane* current_ = nullptr;  // Where the last I/O went.
  uint32_t turn_left_ = 0;   // How many more go there in round robin.
  NvmeCommand::Line waiting_;
  const std::unique_ptr<Reviver> reviver_;
};

}  // namespace pollux
