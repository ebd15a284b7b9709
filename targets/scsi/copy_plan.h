#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "targets/scsi/sense.h"

namespace pollux::scsi {

// What the parameter list of EXTENDED COPY(LID1) asks for. SPC-4 §6.4, §6.5.
struct CopyPlan {
  static constexpr size_t kCscdsMax = 8;
  static constexpr size_t kSegmentsMax = 64;
  // CSCD descriptors and segment descriptors together.
  static constexpr uint32_t kDescriptorBytesMax = 2048;
  // A copy source or destination among those of the list, or the unit itself.
  static constexpr uint16_t kThisUnit = 0xffff;

  // The identification descriptor, E4h.
  struct Cscd {
    uint64_t naa = 0;  // What names the unit; 0: it is named otherwise, by none of our names.
    uint32_t block_bytes = 0;  // As the initiator believes; 0: it does not say.
    uint16_t field = 0;        // Where it is in the list.
  };
  // Block device to block device, 02h.
  struct Segment {
    uint16_t source = 0, destination = 0;  // Indices of CSCDs.
    bool destination_counts = false;       // DC: `blocks` are those of the destination.
    uint16_t blocks = 0;
    uint64_t source_lba = 0, destination_lba = 0;
    uint16_t field = 0;
  };
  uint8_t list_identifier = 0;
  bool identified = true;  // LIST ID USAGE: whether its results can be asked for.
  std::vector<Cscd> cscds;
  std::vector<Segment> segments;
};

// What is wrong with the list, or nothing. The list is as long as the CDB says; an empty one is not
// for here.
std::optional<Sense> ParseCopyPlan(std::span<const uint8_t> list, CopyPlan& plan);

}  // namespace pollux::scsi
