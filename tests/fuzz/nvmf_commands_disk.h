#pragma once
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_channel.h"
#include "core/block/block_device.h"
#include "core/memory/memory.h"

// The disk of nvmf_commands_fuzz.cc that is not a memory disk, and the memory of its target.

namespace pollux::nvmf {

inline constexpr size_t kReactors = 2;
inline constexpr uint64_t kBlocks = 64, kBlocksMax = 512;

// How disks behave.
struct Mood {
  bool holds = false;    // I/O waits for the step that lets it go.
  bool aborts = true;    // What is held can be aborted.
  bool refused = false;  // An abort, of something that ends only when it is let go.
  bool lends = false;
  IoStatus fails = IoStatus::kSuccess;
  std::array<std::vector<IoRequest*>, kReactors> held;
};

// A disk with protection information that does what the input says. It keeps nothing but its size.
class OddDisk final : public BlockDevice {
 public:
  static constexpr uint32_t kBlockBytes = 512, kMetadataBytes = 8;
  explicit OddDisk(Mood& mood)
      : BlockDevice("odd", "Odd disk",
                    {.block_bytes = kBlockBytes,
                     .blocks = kBlocks,
                     .physical_block_bytes = kBlockBytes,
                     .metadata_bytes = kMetadataBytes,
                     .metadata_interleaved = true,
                     .protection_type = 1},
                    Uuid::Random()),
        mood_(mood),
        data_(kBlocksMax * (kBlockBytes + kMetadataBytes)) {
    for (const IoType type : {IoType::kRead, IoType::kWrite, IoType::kFlush, IoType::kUnmap,
                              IoType::kWriteZeroes, IoType::kCompare, IoType::kCompareAndWrite}) {
      executes_.set(static_cast<size_t>(type));
    }
    volatile_cache_ = true;
  }

 protected:
  class Channel final : public BlockChannel {
   public:
    Channel(OddDisk& disk, Reactor& reactor) : BlockChannel(disk, reactor), disk_(disk) {}
    void Execute(IoRequest& request) { Complete(request, disk_.Move(request)); }

   protected:
    void DoSubmit(IoRequest& request) override {
      if (!disk_.mood_.holds) return Execute(request);
      *reinterpret_cast<Channel**>(request.device_area) = this;
      held().push_back(&request);
    }
    bool TryAbort(IoRequest& target) override {
      const auto found = std::find(held().begin(), held().end(), &target);
      if (found != held().end() && !disk_.mood_.aborts) disk_.mood_.refused = true;
      if (found == held().end() || !disk_.mood_.aborts) return false;
      held().erase(found);
      Complete(target, IoStatus::kAborted);
      return true;
    }
    bool DoLend(Loan& loan) override {
      if (!disk_.mood_.lends) return false;
      loan.parts[0] = {disk_.At(loan.lba), 100};
      loan.parts[1] = {disk_.At(loan.lba) + 100, loan.blocks * data_block_bytes() - 100};
      loan.part_count = 2;
      return true;
    }

   private:
    std::vector<IoRequest*>& held() { return disk_.mood_.held[reactor().index()]; }
    OddDisk& disk_;
  };
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::unique_ptr<BlockChannel>(std::make_unique<Channel>(*this, reactor));
  }
  Status CheckResize(uint64_t blocks) const override {
    if (blocks > 0 && blocks <= kBlocksMax) return OkStatus();
    return InvalidArgument("it has no place for %d blocks", blocks);
  }

 public:
  static void Release(IoRequest& request) {
    (*reinterpret_cast<Channel**>(request.device_area))->Execute(request);
  }

 private:
  std::byte* At(uint64_t lba) { return &data_[lba * (kBlockBytes + kMetadataBytes)]; }
  IoStatus Move(IoRequest& request) {
    if (mood_.fails != IoStatus::kSuccess) return mood_.fails;
    if (request.lba + request.blocks > kBlocksMax) return IoStatus::kOutOfRange;
    if (request.blocks == 0) return IoStatus::kSuccess;
    std::byte* place = At(request.lba);
    const bool reads = request.type == IoType::kRead;
    if (!reads && request.type != IoType::kWrite) return IoStatus::kSuccess;
    for (const iovec& part : request.data) {
      if (reads) std::memcpy(part.iov_base, place, part.iov_len);
      if (!reads) std::memcpy(place, part.iov_base, part.iov_len);
      place += part.iov_len;
    }
    return IoStatus::kSuccess;
  }

  Mood& mood_;
  std::vector<std::byte> data_;
};

// Ordinary memory in place of DPDK's.
class PlainMemory final : public Memory {
 public:
  Result<std::byte*> Allocate(const std::string&, size_t bytes) override {
    blocks_.push_back(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) & ~4095ul)));
    std::memset(blocks_.back(), 0, bytes);
    return blocks_.back();
  }
  Usage usage() const override { return {}; }
  ~PlainMemory() override {
    for (std::byte* block : blocks_) std::free(block);
  }

 private:
  std::vector<std::byte*> blocks_;
};

}  // namespace pollux::nvmf
