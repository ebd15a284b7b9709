#include <algorithm>
#include <array>
#include <bit>

#include "targets/scsi/commands.h"
#include "targets/scsi/copy_plan.h"
#include "targets/scsi/copy_results.h"
#include "targets/scsi/parameter_data.h"

// RECEIVE COPY RESULTS(LID1): COPY STATUS, OPERATING PARAMETERS and FAILED SEGMENT DETAILS.
// SPC-4 §6.18 to §6.22. No data is held for RECEIVE DATA.

namespace pollux::scsi {
namespace {

enum CopyManagerStatus : uint8_t { kUnderWay = 0x00, kCompleted = 0x01, kFailed = 0x02 };

uint32_t AllocationLength(const Execution& e) { return e.Field<Be32>(10); }

// Of the copy with the list identifier of the CDB; null, and the command has ended.
const CopyResult* FindResult(Execution& e) {
  const CopyResult* const result = e.copy_results().Find(e.unit()->number, e.cdb()[2]);
  if (result == nullptr) e.EndWithSense(InvalidFieldInCdb(2));
  return result;
}

void SendStatus(Execution& e) {
  const CopyResult* const result = FindResult(e);
  if (result == nullptr) return;
  ParameterData data(e.buffer());
  auto& status = data.Append<CopyStatusData>();
  status.available_data = sizeof(status) - sizeof(Be32);
  status.copy_manager_status = result->under_way ? kUnderWay
                               : result->failure ? kFailed
                                                 : kCompleted;
  status.segments_processed = result->segments_processed;
  // In the smallest unit of 1024 to the power of TRANSFER COUNT UNITS that holds it.
  uint64_t count = result->bytes;
  for (; count > UINT32_MAX; count >>= 10) ++status.transfer_count_units;
  status.transfer_count = static_cast<uint32_t>(count);
  // What was told once is not kept, but for the details of a failure.
  if (!result->under_way && !result->failure) e.copy_results().Forget(*result);
  e.SendParameterData(data, AllocationLength(e));
}

void SendFailure(Execution& e) {
  const CopyResult* const result = FindResult(e);
  if (result == nullptr) return;
  ParameterData data(e.buffer());
  auto& details = data.Append<FailedSegmentDetails>();
  if (!result->failure) {  // No details: AVAILABLE DATA is zero.
    e.SendParameterData(data, std::min<uint32_t>(AllocationLength(e), sizeof(Be32)));
    return;
  }
  std::array<uint8_t, Command::kSenseBytesMax> sense;
  const size_t bytes = EncodeSense(*result->failure, e.descriptor_sense(), sense);
  details.status = static_cast<uint8_t>(ScsiStatus::kCheckCondition);
  details.sense_data_length = static_cast<uint16_t>(bytes);
  data.AppendBytes({sense.data(), bytes});
  details.available_data = static_cast<uint32_t>(data.size() - sizeof(Be32));
  e.copy_results().Forget(*result);
  e.SendParameterData(data, AllocationLength(e));
}

void SendParameters(Execution& e) {
  ParameterData data(e.buffer());
  auto& parameters = data.Append<CopyOperatingParameters>();
  parameters.flags4 = 0x01;  // SNLID: LIST ID USAGE 3.
  parameters.maximum_cscd_descriptor_count = uint16_t{CopyPlan::kCscdsMax};
  parameters.maximum_segment_descriptor_count = uint16_t{CopyPlan::kSegmentsMax};
  parameters.maximum_descriptor_list_length = CopyPlan::kDescriptorBytesMax;
  parameters.maximum_segment_length = CopySegmentBytesMax(e.disk());
  parameters.total_concurrent_copies = kConcurrentCopiesMax;
  parameters.maximum_concurrent_copies = uint8_t{kConcurrentCopiesMax};
  // One block, as a power of two.
  parameters.data_segment_granularity =
      static_cast<uint8_t>(std::countr_zero(e.disk().block_bytes));
  constexpr uint8_t kCodes[] = {kBlockToBlockSegment, kIdentificationCscd};
  parameters.implemented_descriptor_list_length = sizeof(kCodes);
  data.AppendBytes(kCodes);
  parameters.available_data = static_cast<uint32_t>(data.size() - sizeof(Be32));
  e.SendParameterData(data, AllocationLength(e));
}

}  // namespace

void ReceiveCopyStatus(Execution& e) { e.TakeBuffer(SendStatus); }
void ReceiveCopyFailure(Execution& e) { e.TakeBuffer(SendFailure); }
void ReceiveCopyParameters(Execution& e) { e.TakeBuffer(SendParameters); }

}  // namespace pollux::scsi
