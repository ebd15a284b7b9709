#include <algorithm>
#include <cstring>

#include "targets/scsi/commands.h"

// UNMAP. SBC-3 §5.28.

namespace pollux::scsi {
namespace {

UnmapDescriptor DescriptorAt(Execution& e, uint64_t offset) {
  UnmapDescriptor descriptor;
  std::memcpy(&descriptor, e.buffer() + offset, sizeof(descriptor));
  return descriptor;
}

// transfer.offset is the next descriptor in the list, transfer.bytes where the list ends.
void UnmapNext(Execution& e);

void OnUnmapped(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  UnmapNext(e);
}

void UnmapNext(Execution& e) {
  while (e.transfer.offset < e.transfer.bytes) {
    const UnmapDescriptor descriptor = DescriptorAt(e, e.transfer.offset);
    e.transfer.offset += sizeof(descriptor);
    if (descriptor.blocks == 0) continue;
    return e.SubmitRange(IoType::kUnmap, descriptor.lba, descriptor.blocks, OnUnmapped);
  }
  e.EndGood();
}

// The whole list is checked before anything is unmapped.
void OnList(Execution& e) {
  const uint32_t list_bytes = e.Field<Be16>(7);
  UnmapHeader header;
  std::memcpy(&header, e.buffer(), sizeof(header));
  // A descriptor that the list cuts short is ignored.
  const uint32_t descriptors = std::min<uint32_t>(header.block_descriptor_data_length,
                                                  list_bytes - uint32_t{sizeof(header)}) /
                               uint32_t{sizeof(UnmapDescriptor)};
  if (descriptors > UnmapDescriptorsMax(e)) return e.EndWithSense(InvalidFieldInParameterList(2));

  e.transfer.offset = sizeof(header);
  e.transfer.bytes = sizeof(header) + descriptors * sizeof(UnmapDescriptor);
  uint64_t total = 0;
  for (uint64_t at = e.transfer.offset; at < e.transfer.bytes; at += sizeof(UnmapDescriptor)) {
    const UnmapDescriptor descriptor = DescriptorAt(e, at);
    if (const auto sense = CheckRange(e, descriptor.lba, descriptor.blocks)) {
      return e.EndWithSense(*sense);
    }
    total += descriptor.blocks;
    if (total > kUnmapBlocksMax) {
      return e.EndWithSense(InvalidFieldInParameterList(static_cast<uint16_t>(at + 8)));
    }
  }
  UnmapNext(e);
}

void FetchList(Execution& e) { e.FetchParameterList(e.Field<Be16>(7), OnList); }

}  // namespace

uint32_t UnmapDescriptorsMax(const Execution& e) {
  const size_t fit = (e.buffer_bytes() - sizeof(UnmapHeader)) / sizeof(UnmapDescriptor);
  return static_cast<uint32_t>(std::min<size_t>(fit, kUnmapDescriptorsMax));
}

void Unmap(Execution& e) {
  if (e.cdb()[1] & 0x01) return e.EndWithSense(InvalidFieldInCdb(1, 0));  // ANCHOR
  if (const auto sense = CheckWritable(e)) return e.EndWithSense(*sense);
  const uint32_t list_bytes = e.Field<Be16>(7);
  if (list_bytes == 0) return e.EndGood();
  if (list_bytes < sizeof(UnmapHeader)) {
    return e.EndWithSense(IllegalRequest(AdditionalSense::kParameterListLengthError));
  }
  e.TakeBuffer(FetchList);
}

}  // namespace pollux::scsi
