#pragma once
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/spec/nvme_spec.h"
#include "core/status.h"
#include "drivers/nvme/arena.h"
#include "drivers/nvme/bring_up.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/polls.h"
#include "drivers/nvme/queue_pair.h"
#include "drivers/pci/dma_map.h"

namespace pollux::nvme {

// Rings and lists of a queue pair, in memory that the device reaches in one piece each.
struct QueueMemory {
  Piece sq, cq, lists;
  uint64_t sq_iova = 0, cq_iova = 0, lists_iova = 0;
  bool in_controller = false;  // The submission queue lies in the controller memory buffer.

  // With `sq_elsewhere` the submission queue is not made. OutOfMemory; InternalError where the
  // device does not find the memory in one piece.
  static Result<QueueMemory> Make(Arena& arena, pci::DmaMap& dma, uint16_t depth,
                                  uint32_t page_bytes, bool sq_elsewhere);
  void FillIn(QueuePair::Parts& parts) const;
};
inline constexpr uint32_t kListBytes = 4096;
// 2 MiB lie in one list wherever they begin.
inline constexpr uint64_t kListsTransferBytesMax = uint64_t{kListBytes / 8} * 4096;

// The admin queue, and commands to be waited for. Control thread.
class AdminQueue {
 public:
  AdminQueue(Arena& arena, Polls& polls) : arena_(arena), polls_(polls) {}

  static uint16_t DepthOf(const pollux_nvme_attach_options& options);
  // Once, by the transport. `parts` is what lies behind the rings.
  void Make(QueueMemory memory, QueuePair::Parts parts, const pollux_nvme_attach_options& options);
  bool made() const { return queue_ != nullptr; }
  QueuePair& queue() { return *queue_; }
  const QueuePair& queue() const { return *queue_; }
  BringUp::AdminRings rings() const { return {memory_.sq_iova, memory_.cq_iova, queue_->depth()}; }

  // Returns 0 or a negative errno. Without data the entry's pointers stay as they are. The driver's
  // own commands find room when the user's do not.
  int Submit(pollux_nvme_request& request, const SubmissionEntry& entry, void* data, size_t bytes);
  int SubmitForUser(pollux_nvme_request& request, const SubmissionEntry& entry, void* data,
                    size_t bytes);

  // One command, to be waited for. It ends within the admin timeout, or as the queue is drained:
  //
  //   AdminCommand command(admin, entry, buffer);
  //   const Completion completion = co_await command;
  //
  // Memory for the data of a command; freed at the end.
  Piece Buffer(size_t bytes) { return Piece(arena_, bytes, 4096); }
  Arena& arena() { return arena_; }
  Polls& polls() { return polls_; }

 private:
  Arena& arena_;
  Polls& polls_;
  QueueMemory memory_;
  std::unique_ptr<QueuePair> queue_;
};

class AdminCommand final : public Request {
 public:
  AdminCommand(AdminQueue& admin, const SubmissionEntry& entry) : admin_(admin), entry_(entry) {}
  AdminCommand(AdminQueue& admin, const SubmissionEntry& entry, const Piece& data)
      : admin_(admin), entry_(entry), data_(data.get()), bytes_(data.bytes()) {}

  bool await_ready() { return !Start(); }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  Completion await_resume() const { return completion_; }

  void OnComplete(Completion completion) override;

 private:
  // False: it has ended already.
  bool Start();

  AdminQueue& admin_;
  const SubmissionEntry entry_;
  void* const data_ = nullptr;
  const size_t bytes_ = 0;
  std::coroutine_handle<> waiter_;
  Completion completion_{};
};

// An error that names the command: "Identify Controller: Invalid Field in Command (002h)".
Status CommandFailed(const char* what, Completion completion);

// From nvme.h's form; data pointer and identifier are not taken.
SubmissionEntry EntryOf(const pollux_nvme_command& command);

}  // namespace pollux::nvme
