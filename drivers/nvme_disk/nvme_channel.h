#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "core/block/block_channel.h"
#include "core/memory/buffer_pool.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_queue.h"

namespace pollux {

// How often commands ended with which status, by SCT and by SCT and SC; successes are not counted.
// One writer, the channel; any reader. SCT 4 to 7 have no codes of their own here.
struct NvmeErrorCounters {
  std::array<std::atomic<uint32_t>, 8> by_type{};
  std::array<std::array<std::atomic<uint32_t>, 256>, 4> by_code{};
};

// What the channels of one namespace share. It does not change while there are channels.
struct NvmeNamespaceFacts {
  const pollux_nvme_namespace* ns = nullptr;
  uint32_t block_bytes = 512;            // Of data, interleaved metadata included.
  uint32_t separate_metadata_bytes = 0;  // Per block.
  bool protected_data = false;           // The metadata holds protection information.
  uint32_t check_flags = 0;              // POLLUX_NVME_CHECK_... for I/O that has metadata.
  bool volatile_cache = false;
  // For I/O without metadata where it is separate: as much as one command can need, to be written
  // into, and of zeroes.
  std::byte* metadata_sink = nullptr;
  std::byte* metadata_zeroes = nullptr;
  int32_t retries_max = 0;                    // -1: without limit.
  std::array<uint32_t, 4> retry_delays_ms{};  // By CRD of the status. Base figure 94.
  bool count_errors = false;
};

// The I/O of one reactor on one namespace. A request goes to the device as it is, but for memory
// that the device cannot reach and scatter lists that it cannot take: those go through a buffer of
// ours, piece by piece.
class NvmeChannel final : public BlockChannel {
 public:
  NvmeChannel(BlockDevice& device, NvmeQueue& queue, const NvmeNamespaceFacts& facts,
              BufferPool& buffers);
  ~NvmeChannel() override;

  // Null unless they are counted.
  const NvmeErrorCounters* errors() const { return errors_.get(); }

 private:
  // One request under way, in its device area.
  class Io;
  // The compare and the write of one compare-and-write at a time.
  class Pair;
  class BufferLine;

  void DoSubmit(IoRequest& request) override;
  bool TryAbort(IoRequest& target) override;
  void CountError(uint16_t status);

  NvmeQueue& queue_;
  const NvmeNamespaceFacts& facts_;
  BufferPool& buffers_;
  const uint32_t buffer_blocks_;  // What fits into a buffer, with its metadata.
  const std::unique_ptr<BufferLine> buffer_line_;
  const std::unique_ptr<Pair> pair_;
  const std::unique_ptr<NvmeErrorCounters> errors_;
};

}  // namespace pollux
