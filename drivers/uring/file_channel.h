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
};

// The I/O of one reactor on a file, through the reactor's ring.
class FileChannel final : public BlockChannel {
 public:
  FileChannel(BlockDevice& device, Reactor& reactor, FileShared& shared, UniqueFd flush_fd,
              ReactorRing& ring, BufferPool& buffers);
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
  const UniqueFd flush_fd_;
  ReactorRing& ring_;
  BufferPool& buffers_;
  const uint32_t unit_;  // Bytes per block.
  const std::unique_ptr<Lists> lists_;
  const std::unique_ptr<Flusher> flusher_;
  const std::unique_ptr<Retry> retry_;
};

}  // namespace pollux
