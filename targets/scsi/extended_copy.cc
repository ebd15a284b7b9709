#include "targets/scsi/extended_copy.h"

#include <algorithm>

#include "targets/scsi/commands.h"
#include "targets/scsi/inquiry.h"

// EXTENDED COPY(LID1). SPC-4 §6.4, §5.17. Between logical units of the target device that the
// nexus is logged in to, and no others: they are all that it may see. One buffer of the pool serves
// the whole command, burst by burst, so that copies cannot wait for each other.

namespace pollux::scsi {
namespace {

Sense CopyAborted(AdditionalSense code, uint16_t field) {
  return {SenseKey::kCopyAborted, code, FieldPointer{false, field}};
}

const CopyPlan::Segment& SegmentOf(const Copy& copy) { return copy.plan.segments[copy.segment]; }

const Copy::Unit& UnitOf(const Copy& copy, uint16_t cscd) {
  return cscd == CopyPlan::kThisUnit ? copy.this_unit : copy.units[cscd];
}

void EndCopy(Execution& e, std::optional<Sense> failure) {
  Copy& copy = *e.copy;
  if (failure && copy.segment < copy.plan.segments.size()) {
    failure->command_specific = copy.segment;
    if (copy.left > 0) failure->information = copy.left;
  }
  if (copy.result != nullptr) {
    copy.result->under_way = false;
    copy.result->failure = failure;
  }
  if (failure) return e.EndWithSense(*failure);
  e.EndGood();
}

// The unit that is to be read or written now, or null and the copy has ended.
LogicalUnit* Reach(Execution& e, uint16_t cscd, bool write) {
  const CopyPlan::Segment& segment = SegmentOf(*e.copy);
  const Copy::Unit& wanted = UnitOf(*e.copy, cscd);
  const auto field = static_cast<uint16_t>(segment.field + (write ? 6 : 4));
  LogicalUnit* const unit = wanted.number < 0 ? nullptr : e.view().Find(wanted.number);
  if (unit == nullptr || unit->disk != wanted.disk || unit->status.readiness != Readiness::kReady) {
    return EndCopy(e, CopyAborted(AdditionalSense::kCopyTargetNotReachable, field)), nullptr;
  }
  const uint8_t access = write ? reservation_access::kWrites : reservation_access::kReads;
  if (!e.AdmittedTo(*unit, access) || (write && unit->write_protected())) {
    return EndCopy(e, CopyAborted(AdditionalSense::kThirdPartyDeviceFailure, field)), nullptr;
  }
  return unit;
}

void NextBurst(Execution& e);
void NextSegment(Execution& e);

// The bytes of the burst in its unit, from the block `first` of the segment on.
void SubmitBurst(Execution& e, LogicalUnit& unit, IoType type, uint64_t first,
                 Execution::Step next) {
  const Copy& copy = *e.copy;
  const uint64_t at = copy.backward ? copy.left - copy.burst : copy.copied;
  const uint32_t block_bytes = unit.disk->block_bytes;
  e.SubmitBufferTo(unit, type, first + at / block_bytes, copy.burst / block_bytes, next);
}

void OnWritten(Execution& e) {
  Copy& copy = *e.copy;
  if (e.io.status != IoStatus::kSuccess) {
    const auto field = static_cast<uint16_t>(SegmentOf(copy).field + 6);
    return EndCopy(e, CopyAborted(AdditionalSense::kThirdPartyDeviceFailure, field));
  }
  copy.copied += copy.burst;
  copy.left -= copy.burst;
  if (copy.result != nullptr) copy.result->bytes += copy.burst;
  NextBurst(e);
}

void OnRead(Execution& e) {
  const CopyPlan::Segment& segment = SegmentOf(*e.copy);
  if (e.io.status != IoStatus::kSuccess) {
    const auto field = static_cast<uint16_t>(segment.field + 4);
    return EndCopy(e, CopyAborted(AdditionalSense::kThirdPartyDeviceFailure, field));
  }
  LogicalUnit* const unit = Reach(e, segment.destination, /*write=*/true);
  if (unit == nullptr) return;
  SubmitBurst(e, *unit, IoType::kWrite, segment.destination_lba, OnWritten);
}

bool IsInRange(const LogicalUnit& unit, uint64_t lba, uint64_t bytes) {
  const uint64_t blocks = bytes / unit.disk->block_bytes;
  return lba <= unit.channel->blocks() && blocks <= unit.channel->blocks() - lba;
}

// Whether the segment can be copied as its units are now; if so `copy.left` is its length.
std::optional<Sense> BeginSegment(Execution& e, const LogicalUnit& from, const LogicalUnit& to) {
  Copy& copy = *e.copy;
  const CopyPlan::Segment& segment = SegmentOf(copy);
  const uint32_t source_bytes = from.disk->block_bytes, destination_bytes = to.disk->block_bytes;
  copy.left =
      uint64_t{segment.blocks} * (segment.destination_counts ? destination_bytes : source_bytes);
  copy.copied = 0;
  if (copy.left % source_bytes != 0 || copy.left % destination_bytes != 0) {
    return CopyAborted(AdditionalSense::kUnexpectedInexactSegment, segment.field);
  }
  if (!IsInRange(from, segment.source_lba, copy.left)) {
    return CopyAborted(AdditionalSense::kNone, static_cast<uint16_t>(segment.field + 12));
  }
  if (!IsInRange(to, segment.destination_lba, copy.left)) {
    return CopyAborted(AdditionalSense::kNone, static_cast<uint16_t>(segment.field + 20));
  }
  if (std::max(source_bytes, destination_bytes) > e.buffer_bytes()) {
    return CopyAborted(AdditionalSense::kThirdPartyDeviceFailure, segment.field);
  }
  copy.backward = &from == &to && segment.destination_lba > segment.source_lba;
  return std::nullopt;
}

void NextBurst(Execution& e) {
  Copy& copy = *e.copy;
  if (copy.left == 0) {
    if (copy.result != nullptr) ++copy.result->segments_processed;
    ++copy.segment;
    return NextSegment(e);
  }
  const CopyPlan::Segment& segment = SegmentOf(copy);
  LogicalUnit* const unit = Reach(e, segment.source, /*write=*/false);
  if (unit == nullptr) return;
  // Whole blocks of both: their sizes are powers of two.
  const uint64_t unit_bytes =
      std::max(unit->disk->block_bytes, UnitOf(copy, segment.destination).disk->block_bytes);
  copy.burst = std::min(copy.left, e.buffer_bytes() / unit_bytes * unit_bytes);
  SubmitBurst(e, *unit, IoType::kRead, segment.source_lba, OnRead);
}

void NextSegment(Execution& e) {
  Copy& copy = *e.copy;
  if (copy.segment == copy.plan.segments.size()) return EndCopy(e, std::nullopt);
  const CopyPlan::Segment& segment = SegmentOf(copy);
  const LogicalUnit* const from = Reach(e, segment.source, /*write=*/false);
  if (from == nullptr) return;
  const LogicalUnit* const to = Reach(e, segment.destination, /*write=*/true);
  if (to == nullptr) return;
  if (const auto sense = BeginSegment(e, *from, *to)) return EndCopy(e, *sense);
  NextBurst(e);
}

// The LUN that a CSCD descriptor names.
Copy::Unit FindUnit(Execution& e, const CopyPlan::Cscd& cscd) {
  if (cscd.naa == 0) return {};
  if (NaaOf(e.disk().uuid) == cscd.naa) return {e.unit()->number, e.unit()->disk};
  for (int number = 0; number < kLunsMax; ++number) {
    const LogicalUnit* const unit = e.view().Find(number);
    if (unit != nullptr && NaaOf(unit->disk->uuid) == cscd.naa) return {number, unit->disk};
  }
  return {};
}

void OnList(Execution& e) {
  auto copy = std::make_shared<Copy>();
  const std::span<const uint8_t> list(reinterpret_cast<const uint8_t*>(e.buffer()),
                                      e.Field<Be32>(10));
  if (const auto sense = ParseCopyPlan(list, copy->plan)) return e.EndWithSense(*sense);
  copy->this_unit = {e.unit()->number, e.unit()->disk};
  for (const CopyPlan::Cscd& cscd : copy->plan.cscds) {
    const Copy::Unit unit = FindUnit(e, cscd);
    // What the initiator believes of it must be so: blocks are what is counted.
    if (unit.disk != nullptr && cscd.block_bytes != 0 &&
        cscd.block_bytes != unit.disk->block_bytes) {
      return e.EndWithSense(InvalidFieldInParameterList(static_cast<uint16_t>(cscd.field + 29)));
    }
    copy->units.push_back(unit);
  }
  if (copy->plan.identified) {
    copy->result = e.copy_results().Begin(e.unit()->number, copy->plan.list_identifier);
    if (copy->result == nullptr) {
      return e.EndWithSense(IllegalRequest(AdditionalSense::kOperationInProgress));
    }
  }
  e.copy = std::move(copy);
  NextSegment(e);
}

void FetchList(Execution& e) { e.FetchParameterList(e.Field<Be32>(10), OnList); }

}  // namespace

void ExtendedCopy(Execution& e) {
  if (e.Field<Be32>(10) == 0) return e.EndGood();
  e.TakeBuffer(FetchList);
}

}  // namespace pollux::scsi
