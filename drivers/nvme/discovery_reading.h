#pragma once
#include <cstdint>
#include <vector>

#include "core/spec/nvmf_spec.h"
#include "core/status.h"
#include "drivers/nvme/arena.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

class NvmeController;

// Reads the whole discovery log page of a controller, as it was at one time: the header, the
// entries in pieces, the header once more; when the generation counter moved between, all again.
// Base §5.16.1.23. One reading at a time; it ends as the admin queue is drained at the latest.
class DiscoveryReading final : public Request {
 public:
  // A target may say that it has 2^64 entries, and may change for ever.
  static constexpr uint64_t kEntriesMax = 4096;
  static constexpr int kAttemptsMax = 8;
  static constexpr size_t kPieceEntriesMax = 16;

  using OnRead = void (*)(void* context, int error, const pollux_nvme_discovery_log* log);

  explicit DiscoveryReading(NvmeController& controller) : controller_(controller) {}

  Status Begin(OnRead on_read, void* context);
  bool running() const { return on_read_ != nullptr; }

 private:
  enum class Step : uint8_t { kHeader, kEntries, kHeaderAgain };

  void OnComplete(Completion completion) override;
  void OnHeader();
  void OnEntries();
  void OnHeaderAgain();
  void AskForHeader(Step step);
  void AskForEntries();
  int Ask(uint64_t offset, size_t bytes, bool retain_event);
  void Restart();
  void End(const Status& status);

  NvmeController& controller_;
  OnRead on_read_ = nullptr;
  void* context_ = nullptr;
  Piece buffer_;
  size_t piece_entries_ = 1;
  Step step_ = Step::kHeader;
  int attempts_ = 0;
  uint64_t generation_ = 0;
  uint64_t expected_ = 0;  // Entries.
  std::vector<pollux_nvme_discovery_entry> entries_;
};

}  // namespace pollux::nvme
