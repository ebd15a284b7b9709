#pragma once
#include "core/check.h"
#include "drivers/nvme_disk/nvme_channel.h"
#include "drivers/nvme_disk/nvme_io.h"
#include "drivers/nvme_disk/nvme_lane.h"
#include "drivers/nvme_disk/nvme_queue.h"
#include "drivers/nvme_disk/scatter.h"

namespace pollux {

// Executes the compare-and-writes of the channel, one after the other, as fused commands. Base
// §3.4.2: both entries follow each other in the queue and are announced by one doorbell. Their data
// is copied, so that nothing can be wrong with the second once the first is queued.
class NvmeChannel::Pair final : public NvmeCommand {
 public:
  explicit Pair(NvmeChannel& channel) : channel_(channel) {}
  ~Pair() { CHECK(current_ == nullptr && line_.empty()); }

  void Join(Io& io) {
    io.AwaitPair();
    line_.PushBack(io);
    Next();
  }
  void Leave(Io& io) { line_.Remove(io); }
  void OnBuffer() {
    const IoRequest& request = current_->request();
    const size_t bytes = request.blocks * channel_.facts_.block_bytes;
    Gather(request.compare_data, 0, current_->buffer(), bytes);
    Gather(request.data, 0, current_->buffer() + bytes, bytes);
    current_->Send();
  }
  // By the lane that the current one took.
  void Send() {
    current_->InPair();
    NvmeQueue& queue = current_->lane().queue;
    if (!queue.MaySubmit() || !TrySend()) queue.Await(*this);
  }
  void OnEnded(const Io& io) {
    if (current_ != &io) return;
    current_ = nullptr;
    Next();
  }

  bool TrySend() override;
  void OnComplete(nvme::Completion completion) override {
    compare_end_ = completion;
    OnOneEnded();
  }

 private:
  class Write final : public nvme::Request {
   public:
    explicit Write(Pair& pair) : pair_(pair) {}
    void OnComplete(nvme::Completion completion) override {
      pair_.write_end_ = completion;
      pair_.OnOneEnded();
    }

   private:
    Pair& pair_;
  };

  void Next() {
    if (current_ != nullptr || line_.empty()) return;
    current_ = static_cast<Io*>(line_.PopFront());
    current_->AwaitBuffer();
  }
  void OnOneEnded() {
    if (--under_way_ == 0) OnBothEnded();
  }
  void OnBothEnded();
  int SendRaw(const iovec& data);

  NvmeChannel& channel_;
  NvmeCommand::Line line_;
  Io* current_ = nullptr;
  Write write_{*this};
  int under_way_ = 0;
  nvme::Completion compare_end_{}, write_end_{};
};

}  // namespace pollux
