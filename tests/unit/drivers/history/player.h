#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/accel/protection.h"
#include "core/block/block_device.h"
#include "core/memory/memory.h"
#include "tests/unit/drivers/history/board.h"
#include "tests/unit/drivers/history/journal.h"
#include "tests/unit/drivers/history/scattered.h"

namespace pollux::history {

// One reactor's user of the disk: it keeps up to kDepth I/Os and loans of all kinds in flight, and
// writes down what became of them. Made on the control loop; from Play() to Rest() it belongs to
// its reactor.
class Player final : public Poller {
 public:
  static constexpr size_t kDepth = 14;
  static constexpr uint64_t kBlocksMax = 300;  // Of an I/O with data.

  // Board and memory outlive it.
  Player(Reactor& reactor, Board& board, Memory& memory, uint64_t seed);
  ~Player() override;

  // --- On the reactor.

  // Plays `count` I/Os on the channel, most of them on the blocks from `crowded_from` on, and then
  // those in flight to their end.
  void Play(BlockDevice& device, uint64_t count, uint64_t crowded_from);
  // Begins no more.
  void Stop() { left_ = 0; }

  // --- Any thread.

  // All that was begun has ended. Then the journal may be looked at.
  bool quiet() const { return quiet_.load(std::memory_order_acquire); }
  uint64_t begun() const { return begun_.load(std::memory_order_relaxed); }

  // --- While it is quiet.

  Journal& journal() { return journal_; }
  // Where the data of its I/O lies.
  std::span<std::byte> memory() const { return memory_; }
  const std::string& fault() const { return fault_; }

 private:
  struct Slot;
  struct Abort;

  const char* name() const override { return "player"; }
  int Poll() override;
  bool MayBlock() override { return quiet(); }

  uint64_t Below(uint64_t bound) { return history::Below(random_, bound); }
  bool Supports(IoType type) const { return (supported_ >> static_cast<int>(type) & 1) != 0; }
  IoType Choose();
  void ChooseRange(Entry& entry, bool with_data);
  bool BeginOne();
  bool BeginIo(Slot& slot);
  bool BeginLoan(Slot& slot);
  void BeginAbort();
  void Prepare(Slot& slot);
  void Expect(Slot& slot);
  void PutBlocks(std::byte* to, const Entry& entry);
  void PutExpected(std::byte* to, const Entry& entry);
  Protection ProtectionOf(const Entry& entry) const;
  void Protect(std::byte* blocks, const Entry& entry);
  void AddMetadata(Slot& slot);
  void TakeBlocks(Slot& slot, const std::byte* from);
  void EndLoan(Slot& slot);
  void OnEnded(Slot& slot);
  void OnAborted(Abort& abort);
  void Finish(Slot& slot);
  void Fault(const std::string& text);

  Reactor& reactor_;
  Board& board_;
  Random random_;
  std::span<std::byte> memory_;
  BlockChannel* channel_ = nullptr;
  Geometry geometry_;
  uint32_t supported_ = 0;
  uint64_t compare_and_write_max_ = 0;
  uint64_t crowded_from_ = 0;
  uint64_t left_ = 0;
  uint64_t next_write_;
  size_t free_count_ = kDepth;
  std::array<std::unique_ptr<Slot>, kDepth> slots_;
  Journal journal_;
  std::string fault_;
  std::atomic<bool> quiet_{true};
  std::atomic<uint64_t> begun_{0};
};

}  // namespace pollux::history
