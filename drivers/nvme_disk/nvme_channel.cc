#include "drivers/nvme_disk/nvme_channel.h"

#include <new>

#include "core/block/block_device.h"
#include "core/check.h"
#include "drivers/nvme_disk/nvme_io.h"
#include "drivers/nvme_disk/nvme_lane.h"
#include "drivers/nvme_disk/nvme_pair.h"

namespace pollux {

NvmeChannel::NvmeChannel(BlockDevice& device, Reactor& reactor, const NvmeNamespaceFacts& facts,
                         BufferPool& buffers)
    : BlockChannel(device, reactor),
      facts_(facts),
      buffers_(buffers),
      buffer_blocks_(static_cast<uint32_t>(buffers.buffer_bytes()) /
                     (facts.block_bytes + facts.separate_metadata_bytes)),
      buffer_line_(std::make_unique<BufferLine>(buffers)),
      pair_(std::make_unique<Pair>(*this)),
      errors_(facts.count_errors ? std::make_unique<NvmeErrorCounters>() : nullptr),
      reviver_(std::make_unique<Reviver>(*this)) {
  static_assert(sizeof(Io) <= IoRequest::kDeviceAreaBytes);
  CHECK(buffer_blocks_ > 0);
}

NvmeChannel::~NvmeChannel() { reactor().CancelTimer(*reviver_); }

// Reads and writes that need nothing special, in few instructions. False: Start() tells why not.
inline bool NvmeChannel::Io::TryStartPlain() {
  const NvmeNamespaceFacts& facts = channel_.facts_;
  Lane* const lane = channel_.plain_lane_;
  const bool read = request_.type == IoType::kRead;
  if (lane == nullptr || (!read && request_.type != IoType::kWrite)) return false;
  NvmeQueue& queue = lane->queue;
  if (facts.protected_data || facts.separate_metadata_bytes > 0 || !queue.MaySubmit()) return false;
  if (!read && channel_.HoldsChanges()) return false;
  pollux_nvme_io io{};
  io.lba = request_.lba;
  io.blocks = static_cast<uint32_t>(request_.blocks);
  io.flags = !read && request_.fua ? POLLUX_NVME_FUA : 0;
  io.data = request_.data.data();
  io.data_count = static_cast<uint32_t>(request_.data.size());
  const int error = read ? pollux_nvme_readv(queue.c(), lane->ns, this, &io)
                         : pollux_nvme_writev(queue.c(), lane->ns, this, &io);
  if (error != 0) return false;
  state_ = State::kInFlight;
  lane_ = lane->index;
  queue.RingLater();
  return true;
}

// What it ends by lies here, so that the way of plain I/O is in one place.
void NvmeChannel::Io::OnComplete(nvme::Completion completion) {
  if (node.linked()) [[unlikely]]
    lane().queue.Ended(*this);
  if (!pollux_nvme_ok(completion)) [[unlikely]]
    return OnFailure(completion);
  if (buffer_ == nullptr && request_.type != IoType::kUnmap) [[likely]] {
    NvmeChannel& channel = channel_;
    if (channel.facts_.count_paths) [[unlikely]]
      lane().Count(request_);
    IoRequest& request = request_;
    this->~Io();
    return channel.Complete(request, IoStatus::kSuccess);
  }
  OnSuccess();
}

void NvmeChannel::DoSubmit(IoRequest& request) {
  Io& io = *new (request.device_area) Io(*this, request);
  if (!io.TryStartPlain()) [[unlikely]]
    io.Start();
}

bool NvmeChannel::TryAbort(IoRequest& target) { return Io::Of(target).Abort(); }

void NvmeChannel::CountError(uint16_t status) {
  if (errors_ == nullptr) return;
  const size_t type = status >> 8 & 7;
  const auto count = [](std::atomic<uint32_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  count(errors_->by_type[type]);
  if (type < errors_->by_code.size()) count(errors_->by_code[type][status & 0xff]);
}

}  // namespace pollux
