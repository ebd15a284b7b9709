#include "drivers/nvme/namespace.h"

#include <algorithm>

namespace pollux::nvme {
namespace {

// NLB has 16 bits.
constexpr uint32_t kBlocksMax = 65536;

}  // namespace

Namespace::Namespace(const Facts& facts)
    : nsid_(facts.info.nsid),
      blocks_(facts.info.blocks),
      data_block_bytes_(facts.info.block_bytes +
                        (facts.info.metadata_extended ? facts.info.metadata_bytes : 0)),
      transfer_blocks_max_(std::min(facts.info.transfer_blocks_max, kBlocksMax)),
      separate_metadata_bytes_(facts.info.metadata_extended ? 0 : facts.info.metadata_bytes),
      plain_blocks_max_(separate_metadata_bytes_ == 0 ? transfer_blocks_max_ : 0),
      info_(facts.info),
      identify_(facts.identify) {
  info_.transfer_blocks_max = transfer_blocks_max_;
}

void Namespace::Resize(uint64_t blocks) {
  blocks_.store(blocks, std::memory_order_relaxed);
  info_.blocks = blocks;
}

}  // namespace pollux::nvme

extern "C" {

const pollux_nvme_namespace_info* pollux_nvme_get_namespace_info(const pollux_nvme_namespace* ns) {
  return &ns->info();
}

const void* pollux_nvme_identify_namespace(const pollux_nvme_namespace* ns) {
  return &ns->identify();
}

bool pollux_nvme_namespace_active(const pollux_nvme_namespace* ns) { return ns->active(); }

}  // extern "C"
