#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "core/block/io_status.h"
#include "targets/scsi/scsi_spec.h"

namespace pollux::scsi {

// ADDITIONAL SENSE CODE in the high byte, its QUALIFIER in the low one. SPC-4 annex F.
enum class AdditionalSense : uint16_t {
  kNone = 0x0000,
  kOperationInProgress = 0x0016,
  kTargetPortInStandby = 0x040b,
  kTargetPortUnavailable = 0x040c,
  kSanitizeInProgress = 0x041b,
  kUnreachableCopyTarget = 0x0804,
  kWriteError = 0x0c00,
  kThirdPartyDeviceFailure = 0x0d01,
  kCopyTargetNotReachable = 0x0d02,
  kInvalidFieldInInformationUnit = 0x0e03,
  kUnrecoveredReadError = 0x1100,
  kParameterListLengthError = 0x1a00,
  kMiscompareDuringVerify = 0x1d00,
  kInvalidOpcode = 0x2000,
  kLbaOutOfRange = 0x2100,
  kInvalidFieldInCdb = 0x2400,
  kUnitNotSupported = 0x2500,
  kInvalidFieldInParameterList = 0x2600,
  kInvalidRelease = 0x2604,
  kTooManyTargetDescriptors = 0x2606,
  kUnsupportedTargetDescriptor = 0x2607,
  kTooManySegmentDescriptors = 0x2608,
  kUnsupportedSegmentDescriptor = 0x2609,
  kUnexpectedInexactSegment = 0x260a,
  kInlineDataLengthExceeded = 0x260b,
  kWriteProtected = 0x2700,
  kSpaceAllocationFailed = 0x2707,
  kNotReadyToReady = 0x2800,
  kPowerOn = 0x2900,
  kResetFunctionOccurred = 0x2903,
  kModeParametersChanged = 0x2a01,
  kReservationsPreempted = 0x2a03,
  kReservationsReleased = 0x2a04,
  kRegistrationsPreempted = 0x2a05,
  kAccessStateChanged = 0x2a06,
  kCapacityChanged = 0x2a09,
  kCommandTimeout = 0x2e02,
  kSanitizeFailed = 0x3103,
  kSavingNotSupported = 0x3900,
  kMediumNotPresent = 0x3a00,
  kInquiryDataChanged = 0x3f03,
  kReportedLunsChanged = 0x3f0e,
  kInternalTargetFailure = 0x4400,
  kProtocolServiceCrcError = 0x4705,
  kMediumRemovalPrevented = 0x5302,
  kInsufficientRegistrationResources = 0x5504,
};

// Where the wrong field is. SPC-4 §4.5.2.4.2.
struct FieldPointer {
  bool in_cdb = true;  // Else in the parameter list.
  uint16_t byte = 0;
  int bit = -1;  // The most significant bit of the field; -1: the whole byte.
};

// What a CHECK CONDITION says.
struct Sense {
  SenseKey key = SenseKey::kNoSense;
  AdditionalSense code = AdditionalSense::kNone;
  std::optional<FieldPointer> field;
  std::optional<uint64_t> information;
  std::optional<uint64_t> command_specific;
  std::optional<uint16_t> progress;  // In parts of 65536. SPC-4 §4.5.2.4.4.
};

inline Sense IllegalRequest(AdditionalSense code) { return {SenseKey::kIllegalRequest, code}; }
inline Sense InvalidFieldInCdb(uint16_t byte, int bit = -1) {
  return {SenseKey::kIllegalRequest, AdditionalSense::kInvalidFieldInCdb,
          FieldPointer{true, byte, bit}};
}
inline Sense InvalidFieldInParameterList(uint16_t byte, int bit = -1) {
  return {SenseKey::kIllegalRequest, AdditionalSense::kInvalidFieldInParameterList,
          FieldPointer{false, byte, bit}};
}

// Writes sense data and returns its length: fixed format, or descriptor format (D_SENSE).
size_t EncodeSense(const Sense& sense, bool descriptor_format, std::span<uint8_t> out);

// What an I/O's failure means to an initiator. kNoResources has no sense data: it is BUSY.
Sense SenseOfIo(IoStatus status, bool write);

}  // namespace pollux::scsi
