#pragma once
#include <atomic>
#include <memory>

#include "core/block/block_channel.h"
#include "core/memory/buffer_pool.h"
#include "core/unique_fd.h"
#include "core/uring/reactor_ring.h"
#include "drivers/uring/backing_file.h"

namespace pollux {

// What the channels of one file disk share.
struct FileShared {
  BackingFile file;
  // How the first failed flush ended. From then on no flush succeeds: the kernel reports the loss
  // of written data once, and what it lost stays lost.
  std::atomic<IoStatus> flush_failure{IoStatus::kSuccess};
  // The file was found to end within the disk, and this was said. A rescan begins anew.
  std::atomic<bool> cut_short{false};
};

// The I/O of one reactor on a file, through the reactor's ring.
class FileChannel final : public BlockChannel {
 public:
  // The reactor's own descriptions of the file; see backing_file.h.
  struct Files {
    UniqueFd io, flush;
  };
  // `polled_ring` takes reads and writes where the device is polled; null elsewhere.
  FileChannel(BlockDevice& device, Reactor& reactor, FileShared& shared, Files files,
              ReactorRing& ring, std::shared_ptr<ReactorRing> polled_ring, BufferPool& buffers);
  ~FileChannel() override;

 private:
  // One request under way, in its device area.
  class FileIo;
  // One fdatasync for all flushes that wait for it.
  class Flusher;
  class Retry;
  struct Lists;

  void DoSubmit(IoRequest& request) override;
  bool TryAbort(IoRequest& target) override;

  FileShared& shared_;
  const Files files_;
  ReactorRing& ring_;
  const RingFile io_file_, flush_file_;  // The same, in the ring's table.
  const std::shared_ptr<ReactorRing> polled_ring_;
  const RingFile polled_file_;  // In that ring's table.
  bool polls_ = false;          // Until the device's queues are polled no more.
  BufferPool& buffers_;
  const uint32_t unit_;  // Bytes per block.
  const std::unique_ptr<Lists> lists_;
  const std::unique_ptr<Flusher> flusher_;
  const std::unique_ptr<Retry> retry_;
};

}  // namespace pollux
