#pragma once
#include <atomic>
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// One namespace of a controller. The control thread describes it; any queue's thread reads what the
// commands need, which is written before the namespace becomes active and then stays, but for its
// size. A namespace that changes its format is removed, and a new one takes its number.
class Namespace {
 public:
  // As CNS 00h (and, zoned, CNS 05h) tell it; checked by the caller to describe something possible.
  struct Facts {
    pollux_nvme_namespace_info info{};
    IdentifyNamespace identify{};
  };
  explicit Namespace(const Facts& facts);

  const pollux_nvme_namespace_info& info() const { return info_; }
  const IdentifyNamespace& identify() const { return identify_; }

  // --- Any thread.
  bool active() const { return active_.load(std::memory_order_relaxed); }
  uint64_t blocks() const { return blocks_.load(std::memory_order_relaxed); }
  uint32_t nsid() const { return nsid_; }
  uint32_t data_block_bytes() const { return data_block_bytes_; }
  uint32_t transfer_blocks_max() const { return transfer_blocks_max_; }
  uint32_t separate_metadata_bytes() const { return separate_metadata_bytes_; }
  // Blocks of a transfer that needs no closer look: 0 with separate metadata, or when not active.
  uint32_t plain_blocks_max() const { return plain_blocks_max_.load(std::memory_order_relaxed); }

  // --- Control thread.
  void Resize(uint64_t blocks);
  void Deactivate() {
    active_.store(false, std::memory_order_relaxed);
    plain_blocks_max_.store(0, std::memory_order_relaxed);
  }

 private:
  // What a command needs, in one cache line.
  alignas(64) std::atomic<bool> active_{true};
  const uint32_t nsid_;
  std::atomic<uint64_t> blocks_;
  const uint32_t data_block_bytes_;  // What a block takes of the data, extended metadata included.
  const uint32_t transfer_blocks_max_;
  const uint32_t separate_metadata_bytes_;  // Per block; 0: none, or interleaved.
  std::atomic<uint32_t> plain_blocks_max_;

  pollux_nvme_namespace_info info_;
  IdentifyNamespace identify_;
};

}  // namespace pollux::nvme

struct pollux_nvme_namespace final : pollux::nvme::Namespace {
  using Namespace::Namespace;
};
