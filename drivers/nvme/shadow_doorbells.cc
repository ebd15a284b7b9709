#include "drivers/nvme/shadow_doorbells.h"

#include <cstring>

namespace pollux::nvme {

Task<Status> ShadowDoorbells::Configure(AdminQueue& admin, pci::DmaMap& dma,
                                        Capabilities capabilities) {
  stride_ = capabilities.doorbell_stride;
  if (!shadow_.valid()) {
    // One page each, whatever the number of queues: those beyond it use their registers.
    shadow_ = Piece(admin.arena(), capabilities.page_bytes, capabilities.page_bytes);
    event_ = Piece(admin.arena(), capabilities.page_bytes, capabilities.page_bytes);
    if (!shadow_.valid() || !event_.valid()) {
      shadow_ = Piece();
      event_ = Piece();
      co_return OutOfMemory("no memory for shadow doorbells");
    }
  }
  memset(shadow_.get(), 0, shadow_.bytes());
  memset(event_.get(), 0, event_.bytes());

  pci::DmaView view(dma);
  SubmissionEntry entry;
  entry.opc = admin::kDoorbellBufferConfig;
  entry.prp1 = view.Translate(shadow_.get()).iova;
  entry.prp2 = view.Translate(event_.get()).iova;
  AdminCommand command(admin, entry);
  const Completion completion = co_await command;
  used_ = pollux_nvme_ok(completion);
  if (!used_) co_return CommandFailed("Doorbell Buffer Config", completion);
  co_return OkStatus();
}

void ShadowDoorbells::FillIn(QueuePair::Parts& parts) const {
  const size_t sq = 2 * size_t{parts.id} * stride_, cq = sq + stride_;
  if (!used_ || cq + sizeof(Le32) > shadow_.bytes()) return;
  parts.shadow_sq = reinterpret_cast<Le32*>(shadow_.get() + sq);
  parts.shadow_cq = reinterpret_cast<Le32*>(shadow_.get() + cq);
  parts.event_sq = reinterpret_cast<Le32*>(event_.get() + sq);
  parts.event_cq = reinterpret_cast<Le32*>(event_.get() + cq);
}

}  // namespace pollux::nvme
