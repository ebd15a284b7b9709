#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/block/block_device.h"
#include "core/check.h"

namespace pollux::testing_world {

// A disk whose requests end when the test says so, or at once; its blocks are in memory.
class ManualDisk final : public BlockDevice {
 public:
  struct Options {
    std::string name = "disk";
    Geometry geometry{.block_bytes = 512, .blocks = 1024};
    Limits limits;
    std::vector<IoType> executes = {IoType::kRead, IoType::kWrite};
    bool read_only = false;
    bool volatile_cache = false;
    bool at_once = false;  // Requests end by themselves.
    bool abortable = false;
    bool lends = false;
    int fails_on_reactor = -1;
    ReactorBuffers* buffers = nullptr;
  };

  explicit ManualDisk(Options options)
      : BlockDevice(options.name, "Manual disk", options.geometry, Uuid::Random()),
        options_(std::move(options)),
        memory_(geometry().blocks * geometry().data_block_bytes()) {
    limits_ = options_.limits;
    read_only_ = options_.read_only;
    volatile_cache_ = options_.volatile_cache;
    buffers_ = options_.buffers;
    for (const IoType type : options_.executes) executes_.set(static_cast<size_t>(type));
  }

  class Channel final : public BlockChannel {
   public:
    Channel(ManualDisk& disk, Reactor& reactor) : BlockChannel(disk, reactor), disk_(disk) {}
    ~Channel() override { CHECK(pending.empty()); }

    // Ends the oldest request.
    void End(IoStatus status = IoStatus::kSuccess) {
      CHECK(!pending.empty());
      IoRequest& request = *pending.front();
      pending.erase(pending.begin());
      Complete(request, status == IoStatus::kSuccess ? disk_.Execute(request) : status);
    }
    void EndAll() {
      while (!pending.empty()) End();
    }

    std::vector<IoRequest*> pending;  // Oldest first.
    size_t submitted = 0;
    size_t loans_out = 0;

   private:
    void DoSubmit(IoRequest& request) override {
      ++submitted;
      pending.push_back(&request);
      if (disk_.options_.at_once) End();
    }
    bool TryAbort(IoRequest& target) override {
      const auto found = std::find(pending.begin(), pending.end(), &target);
      if (!disk_.options_.abortable || found == pending.end()) return false;
      pending.erase(found);
      Complete(target, IoStatus::kAborted);
      return true;
    }
    bool DoLend(Loan& loan) override {
      if (!disk_.options_.lends) return false;
      const size_t unit = disk_.geometry().data_block_bytes();
      loan.parts[0] = {disk_.memory_.data() + loan.lba * unit, loan.blocks * unit};
      loan.part_count = 1;
      ++loans_out;
      return true;
    }
    void DoReturn(Loan&) override { --loans_out; }

    ManualDisk& disk_;
  };

  Channel& at(size_t reactor_index) { return static_cast<Channel&>(*channel(reactor_index)); }
  std::vector<std::byte>& memory() { return memory_; }
  size_t shutdowns = 0;

 private:
  IoStatus Execute(IoRequest& request) {
    const size_t unit = geometry().data_block_bytes();
    std::byte* at = memory_.data() + request.lba * unit;
    for (const iovec& part : request.data) {
      if (part.iov_len == 0) continue;
      switch (request.type) {
        case IoType::kRead:
          memcpy(part.iov_base, at, part.iov_len);
          break;
        case IoType::kWrite:
          memcpy(at, part.iov_base, part.iov_len);
          break;
        case IoType::kCompare:
          if (memcmp(at, part.iov_base, part.iov_len) != 0) {
            const auto* expected = static_cast<const std::byte*>(part.iov_base);
            const auto differs = std::mismatch(at, at + part.iov_len, expected);
            request.miscompare_offset = static_cast<uint64_t>(
                differs.first - memory_.data() - static_cast<ptrdiff_t>(request.lba * unit));
            return IoStatus::kMiscompare;
          }
          break;
        default:
          break;
      }
      at += part.iov_len;
    }
    if (request.type == IoType::kUnmap || request.type == IoType::kWriteZeroes) {
      memset(at, 0, request.blocks * unit);
    }
    return IoStatus::kSuccess;
  }

  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    if (static_cast<int>(reactor.index()) == options_.fails_on_reactor) {
      return NoSpace("no queue for %s", reactor.name());
    }
    return std::make_unique<Channel>(*this, reactor);
  }
  Task<void> Shutdown() override {
    ++shutdowns;
    co_return;
  }
  Status CheckResize(uint64_t blocks) const override {
    return blocks * geometry().data_block_bytes() <= memory_.size() ? OkStatus()
                                                                    : NoSpace("no more memory");
  }

  const Options options_;
  std::vector<std::byte> memory_;
};

}  // namespace pollux::testing_world
