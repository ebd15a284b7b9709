#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/block/io_status.h"
#include "core/intrusive_list.h"

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
  kAbort,            // `abort_target`: kSuccess when it ended, or will end soon, with kAborted.
};
inline constexpr int kIoTypeCount = 9;
const char* IoTypeName(IoType type);

// Who submits a request, for the trace.
enum class IoSource : uint8_t { kOther, kIscsi, kNvmf, kStacked };
const char* IoSourceName(IoSource source);

// One I/O. Embed it in the object that waits for it: from BlockChannel::Submit until OnComplete it
// stays where it is, and so do its buffers. The caller sets the first part; nothing here allocates.
class IoRequest {
 public:
  IoRequest() = default;
  IoRequest(const IoRequest&) = delete;
  IoRequest& operator=(const IoRequest&) = delete;

  IoType type = IoType::kRead;
  // For kWrite, kWriteZeroes, kUnmap, kCompareAndWrite: on stable media before it completes (Force
  // Unit Access).
  bool fua = false;
  IoSource source = IoSource::kOther;  // Set once, with the request.
  uint64_t lba = 0;                    // First block.
  uint64_t blocks = 0;                 // Count. An I/O of no blocks succeeds.
  // Scatter list: together exactly `blocks` times Geometry::data_block_bytes() for kRead, kWrite,
  // kCompare and kCompareAndWrite; empty otherwise. The array itself must live as long as the
  // request.
  std::span<const iovec> data;
  std::span<const iovec> compare_data;  // kCompareAndWrite: as long as `data`.
  // blocks * metadata_bytes, where metadata is separate. Null: it is neither read nor written.
  std::byte* metadata = nullptr;
  IoRequest* abort_target = nullptr;

  // The outcome, valid in OnComplete.
  IoStatus status = IoStatus::kSuccess;
  uint16_t nvme_status = 0;        // SCT << 8 | SC, with kNvmeFailure.
  uint64_t miscompare_offset = 0;  // In bytes from the start of the data, with kMiscompare.

  // Runs once per Submit, on the reactor of the channel, never from within Submit.
  virtual void OnComplete() = 0;

  bool in_flight() const { return channel_ != nullptr; }
  // When it was submitted, while it is in flight. For a piece of another request: when that was cut
  // off.
  uint64_t submitted_ns() const { return submitted_ns_; }

 protected:
  ~IoRequest() = default;

 private:
  friend class BlockChannel;
  friend class IoSplitter;
  friend class CompareAndWriter;
  friend class RateGate;

  // Where it is while it is in flight.
  enum class Place : uint8_t {
    kNowhere,
    kPaced,     // Not started: the device's limits hold it back; see rate_gate.h.
    kHeld,      // Not started: a reset or a compare-and-write is under way.
    kDevice,    // DoSubmit was called.
    kParts,     // Cut into parts; see io_splitter.h.
    kInTurn,    // A compare-and-write; see compare_and_writer.h.
    kDeferred,  // It has ended; OnComplete runs in the deferred stage.
  };

  BlockChannel* channel_ = nullptr;  // Set while in flight.
  uint64_t submitted_ns_ = 0;
  ListNode node_;
  Place place_ = Place::kNowhere;
  bool internal_ = false;  // A piece of another request: neither counted nor listed.

 public:
  // For whoever executes the request, so that it need not allocate: the device, or the block layer
  // while it hands only pieces of the request to the device.
  static constexpr size_t kDeviceAreaBytes = 128;
  alignas(16) std::byte device_area[kDeviceAreaBytes];
};

}  // namespace pollux
