#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/spec/nvme_spec.h"
#include "tests/models/nvme_dma.h"

namespace pollux::models {

// Where a command's data lies in the host's memory, piece by piece.
class Transfer {
 public:
  // What the controller has announced about data pointers.
  struct Rules {
    uint32_t page_bytes = 4096;  // CC.MPS.
    uint32_t sgls = 0;           // As Identify Controller has it.
  };
  // Walks PRPs or an SGL as strictly as the specification allows, for `bytes` of data that the
  // device writes or reads. Returns a status code; `why` then says what the host did wrong.
  uint16_t Map(const Rules& rules, DmaSpace& dma, const nvme::SubmissionEntry& sqe, uint64_t bytes,
               bool device_writes, std::string& why);
  // The same for metadata in a buffer of its own (MPTR).
  uint16_t MapMetadata(const Rules& rules, DmaSpace& dma, const nvme::SubmissionEntry& sqe,
                       uint64_t bytes, bool device_writes, std::string& why);

  uint64_t bytes() const { return bytes_; }
  // Between the host's memory and ours, `offset` bytes into the data.
  void ToHost(uint64_t offset, std::span<const std::byte> from) const;
  void FromHost(uint64_t offset, std::span<std::byte> to) const;

 private:
  struct Piece {
    std::byte* memory;  // Null: a bit bucket.
    uint64_t bytes;
  };
  struct Walk;
  uint16_t MapPrp(Walk& walk, const nvme::SubmissionEntry& sqe);
  uint16_t MapSgl(Walk& walk, const nvme::SglDescriptor& first);
  uint16_t AddDescriptor(Walk& walk, const nvme::SglDescriptor& descriptor);
  uint16_t Add(Walk& walk, uint64_t iova, uint64_t bytes);
  template <typename Visit>
  void ForEach(uint64_t offset, uint64_t bytes, Visit visit) const;

  std::vector<Piece> pieces_;
  uint64_t bytes_ = 0;
};

}  // namespace pollux::models
