#include "targets/scsi/copy_plan.h"

#include <cstring>

namespace pollux::scsi {
namespace {

template <typename T>
T At(std::span<const uint8_t> list, size_t at) {
  T value;
  std::memcpy(&value, &list[at], sizeof(value));
  return value;
}

Sense ListLengthError() { return IllegalRequest(AdditionalSense::kParameterListLengthError); }

// The code of a descriptor, as what is wrong.
Sense WrongDescriptor(AdditionalSense code, size_t at) {
  return {SenseKey::kIllegalRequest, code, FieldPointer{false, static_cast<uint16_t>(at)}};
}

std::optional<Sense> ParseCscd(std::span<const uint8_t> list, size_t at, CopyPlan& plan) {
  const auto field = static_cast<uint16_t>(at);
  const auto wire = At<IdentificationCscd>(list, at);
  if (wire.type_code != kIdentificationCscd) {
    return WrongDescriptor(AdditionalSense::kUnsupportedTargetDescriptor, at);
  }
  // LU ID TYPE is not for this descriptor, and NUL is obsolete: both are ignored.
  if (wire.flags1 & 0x1f) {  // PERIPHERAL DEVICE TYPE: we have block devices alone.
    return InvalidFieldInParameterList(static_cast<uint16_t>(field + 1), 4);
  }
  if (wire.designator_length > sizeof(wire.designator)) {
    return InvalidFieldInParameterList(static_cast<uint16_t>(field + 7));
  }
  CopyPlan::Cscd& cscd = plan.cscds.emplace_back();
  cscd.field = field;
  cscd.block_bytes = wire.block_length;
  constexpr uint8_t kNaaOfUnit = 0x03;  // ASSOCIATION 0, DESIGNATOR TYPE 3.
  const bool binary = (wire.code_set & 0x0f) == 1;
  if (binary && (wire.designator_type & 0x3f) == kNaaOfUnit && wire.designator_length == 8) {
    Be64 naa;
    std::memcpy(&naa, wire.designator, sizeof(naa));
    cscd.naa = naa;
  }
  return std::nullopt;
}

std::optional<Sense> ParseSegment(std::span<const uint8_t> list, size_t at, CopyPlan& plan) {
  const auto field = static_cast<uint16_t>(at);
  const auto wire = At<BlockToBlockSegment>(list, at);
  CopyPlan::Segment segment;
  segment.field = field;
  segment.source = wire.source_cscd;
  segment.destination = wire.destination_cscd;
  segment.destination_counts = wire.flags1 & 0x02;
  segment.blocks = wire.number_of_blocks;
  segment.source_lba = wire.source_lba;
  segment.destination_lba = wire.destination_lba;
  for (const uint16_t cscd : {segment.source, segment.destination}) {
    const bool known = cscd == CopyPlan::kThisUnit || cscd < plan.cscds.size();
    if (known) continue;
    const size_t byte = at + (cscd == segment.source ? 4 : 6);
    return Sense{SenseKey::kCopyAborted, AdditionalSense::kUnreachableCopyTarget,
                 FieldPointer{false, static_cast<uint16_t>(byte)}};
  }
  plan.segments.push_back(segment);
  return std::nullopt;
}

}  // namespace

std::optional<Sense> ParseCopyPlan(std::span<const uint8_t> list, CopyPlan& plan) {
  if (list.size() < sizeof(ExtendedCopyHeader)) return ListLengthError();
  const auto header = At<ExtendedCopyHeader>(list, 0);
  const uint64_t cscd_bytes = header.cscd_descriptor_list_length;
  const uint64_t segment_bytes = header.segment_descriptor_list_length;
  if (cscd_bytes + segment_bytes > CopyPlan::kDescriptorBytesMax) return ListLengthError();
  if (header.inline_data_length != 0) {
    return WrongDescriptor(AdditionalSense::kInlineDataLengthExceeded, 12);
  }
  if (sizeof(header) + cscd_bytes + segment_bytes > list.size()) return ListLengthError();
  const uint8_t usage = (header.flags1 >> 3) & 3;
  if (usage == 1) return InvalidFieldInParameterList(1, 4);
  plan.identified = usage != 3;
  plan.list_identifier = header.list_identifier;
  if (!plan.identified && plan.list_identifier != 0) return InvalidFieldInParameterList(0);

  size_t at = sizeof(header);
  const size_t segments_at = at + cscd_bytes, end = segments_at + segment_bytes;
  for (; at < segments_at; at += sizeof(IdentificationCscd)) {
    if (segments_at - at < sizeof(IdentificationCscd)) return InvalidFieldInParameterList(2);
    if (plan.cscds.size() == CopyPlan::kCscdsMax) {
      return WrongDescriptor(AdditionalSense::kTooManyTargetDescriptors, at);
    }
    if (auto sense = ParseCscd(list, at, plan)) return sense;
  }
  for (; at < end; at += sizeof(BlockToBlockSegment)) {
    if (list[at] != kBlockToBlockSegment) {
      return WrongDescriptor(AdditionalSense::kUnsupportedSegmentDescriptor, at);
    }
    if (end - at < sizeof(BlockToBlockSegment)) return InvalidFieldInParameterList(8);
    if (At<Be16>(list, at + 2) != sizeof(BlockToBlockSegment) - 4) {
      return InvalidFieldInParameterList(static_cast<uint16_t>(at + 2));
    }
    if (plan.segments.size() == CopyPlan::kSegmentsMax) {
      return WrongDescriptor(AdditionalSense::kTooManySegmentDescriptors, at);
    }
    if (auto sense = ParseSegment(list, at, plan)) return sense;
  }
  return std::nullopt;
}

}  // namespace pollux::scsi
