#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/block/io_status.h"
#include "core/intrusive_list.h"
#include "core/loop.h"

namespace pollux {

class BlockChannel;

enum class IoType : uint8_t {
  kRead,
  kWrite,
  kFlush,  // All writes that completed before it are on stable media when it completes.
  kUnmap,  // The blocks need not be kept; they read back as the device says (Limits).
  kWriteZeroes,
  kCompare,          // `data` against the device.
  kCompareAndWrite,  // `compare_data` against the device; if equal, `data` is written. Atomic.
  kReset,            // Everything in flight on this channel is aborted, then the device is usable.
  kAbort,            // `abort_target`, if it is still in flight.
};
inline constexpr int kIoTypeCount = 9;
const char* IoTypeName(IoType type);

// One I/O. Embed it in the object that waits for it: from BlockChannel::Submit until OnComplete it
// stays where it is, and so do its buffers. The caller sets the first part; nothing here allocates.
class IoRequest : public Deferred {
 public:
  IoType type = IoType::kRead;
  // For kWrite, kWriteZeroes, kUnmap: on stable media before it completes (Force Unit Access).
  bool fua = false;
  uint64_t lba = 0;     // First block.
  uint64_t blocks = 0;  // Count.
  // Scatter list: together exactly blocks * block_size bytes for kRead, kWrite, kCompare and
  // kCompareAndWrite; empty otherwise. The array itself must live as long as the request.
  std::span<const iovec> data;
  std::span<const iovec> compare_data;  // kCompareAndWrite: as long as `data`.
  std::byte* metadata = nullptr;        // blocks * metadata_bytes, where metadata is separate.
  IoRequest* abort_target = nullptr;

  // The outcome, valid in OnComplete.
  IoStatus status = IoStatus::kSuccess;
  uint64_t miscompare_offset = 0;  // In bytes from the start of the data, with kMiscompare.

  // Runs once per Submit, on the reactor of the channel, never from within Submit.
  virtual void OnComplete() = 0;

  bool in_flight() const { return channel_ != nullptr; }

 protected:
  ~IoRequest() = default;

 private:
  friend class BlockChannel;
  friend class DeviceIo;
  void RunDeferred() final;

  BlockChannel* channel_ = nullptr;  // Set while in flight.
  uint64_t submitted_ns_ = 0;
  ListNode in_flight_node_;
  // Splitting: what remains to be sent, and the parts that are under way. See block_channel.cc.
  uint64_t split_next_lba_ = 0;
  uint32_t split_parts_ = 0;

 public:
  // For the device that executes the request: its own state, so that it need not allocate.
  alignas(16) std::byte device_area[96];
};

}  // namespace pollux
