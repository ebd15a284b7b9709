#pragma once
#include <array>
#include <memory>

#include "core/block/io_request.h"
#include "core/memory/buffer_pool.h"

namespace pollux {

class BlockChannel;
struct Geometry;
struct Limits;

// Cuts the requests of one channel into parts that the device takes, and finishes each when its
// parts have ended. The same cutting serves what the device lacks: write zeroes become writes of a
// buffer of zeroes, and a compare becomes reads into a buffer that is compared here.
//
// There are kPartCount parts, made with the channel. Requests stand in line for them and get one in
// their turn, so a large request does not keep small ones waiting until it has ended.
class IoSplitter {
 public:
  static constexpr size_t kPartCount = 16;
  static constexpr size_t kSegmentsMax = 32;

  struct Options {
    bool emulate_write_zeroes = false;
    BufferPool* compare_buffers = nullptr;  // Set: compares are emulated.
  };
  IoSplitter(BlockChannel& channel, const Geometry& geometry, const Limits& limits,
             const Options& options);
  ~IoSplitter();

  // Takes over a request that was checked; it ends with BlockChannel::Complete.
  void Start(IoRequest& parent);
  // No further parts are sent, and those under way are asked to stop. The request ends with
  // kAborted.
  void Abort(IoRequest& parent);

 private:
  class Part;
  struct Split;
  struct Parts;

  static Split& SplitOf(IoRequest& parent);
  // Hands parts to those in line, one each in turn, until there are no more of either.
  void Dispatch();
  // Whether the request wants another part after this one.
  bool Send(Split& split, Part& part);
  bool Cut(Split& split, Part& part) const;
  bool CutData(Split& split, Part& part, uint64_t blocks_max) const;
  void CutZeroes(Part& part, uint64_t blocks_max) const;
  uint64_t BlocksMax(IoType type) const;
  bool IsEmulatedCompare(const Part& part) const;
  void OnPartEnded(Part& part);
  void Compare(Part& part) const;
  void EndIfDone(Split& split);

  BlockChannel& channel_;
  const Options options_;
  const uint32_t block_bytes_;
  const uint32_t metadata_bytes_;  // Per block where it is separate; otherwise 0.
  const uint32_t boundary_blocks_;
  const size_t segments_max_;
  const uint64_t io_blocks_max_, unmap_blocks_max_, write_zeroes_blocks_max_;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace pollux
