#include "targets/scsi/sense.h"

#include <cstring>

#include "core/check.h"

namespace pollux::scsi {
namespace {

void EncodeFieldPointer(const FieldPointer& field, uint8_t (&sks)[3]) {
  sks[0] = 0x80;  // SKSV
  if (field.in_cdb) sks[0] |= 0x40;
  if (field.bit >= 0) sks[0] |= static_cast<uint8_t>(0x08 | field.bit);
  sks[1] = static_cast<uint8_t>(field.byte >> 8);
  sks[2] = static_cast<uint8_t>(field.byte);
}

// What the sense key specific bytes say; false: nothing.
bool EncodeSpecific(const Sense& sense, uint8_t (&sks)[3]) {
  if (sense.field) {
    EncodeFieldPointer(*sense.field, sks);
  } else if (sense.progress) {
    sks[0] = 0x80;  // SKSV
    sks[1] = static_cast<uint8_t>(*sense.progress >> 8);
    sks[2] = static_cast<uint8_t>(*sense.progress);
  } else {
    return false;
  }
  return true;
}

size_t EncodeFixed(const Sense& sense, std::span<uint8_t> out) {
  FixedSense fixed;
  fixed.sense_key = static_cast<uint8_t>(sense.key);
  fixed.asc = static_cast<uint8_t>(static_cast<uint16_t>(sense.code) >> 8);
  fixed.ascq = static_cast<uint8_t>(sense.code);
  // Four bytes: what does not fit is not said.
  if (sense.information && *sense.information <= UINT32_MAX) {
    fixed.response_code |= 0x80;
    fixed.information = static_cast<uint32_t>(*sense.information);
  }
  if (sense.command_specific) {
    fixed.command_specific_information = static_cast<uint32_t>(*sense.command_specific);
  }
  EncodeSpecific(sense, fixed.sks);
  CHECK(out.size() >= sizeof(fixed));
  std::memcpy(out.data(), &fixed, sizeof(fixed));
  return sizeof(fixed);
}

size_t EncodeDescriptors(const Sense& sense, std::span<uint8_t> out) {
  CHECK(out.size() >= sizeof(DescriptorSense) + sizeof(InformationDescriptor) +
                          sizeof(CommandSpecificDescriptor) + sizeof(SenseKeySpecificDescriptor));
  DescriptorSense header;
  header.sense_key = static_cast<uint8_t>(sense.key);
  header.asc = static_cast<uint8_t>(static_cast<uint16_t>(sense.code) >> 8);
  header.ascq = static_cast<uint8_t>(sense.code);
  size_t bytes = sizeof(header);
  if (sense.information) {
    InformationDescriptor information;
    information.information = *sense.information;
    std::memcpy(&out[bytes], &information, sizeof(information));
    bytes += sizeof(information);
  }
  if (sense.command_specific) {
    CommandSpecificDescriptor command_specific;
    command_specific.command_specific_information = *sense.command_specific;
    std::memcpy(&out[bytes], &command_specific, sizeof(command_specific));
    bytes += sizeof(command_specific);
  }
  SenseKeySpecificDescriptor specific;
  if (EncodeSpecific(sense, specific.sks)) {
    std::memcpy(&out[bytes], &specific, sizeof(specific));
    bytes += sizeof(specific);
  }
  header.additional_length = static_cast<uint8_t>(bytes - sizeof(header));
  std::memcpy(out.data(), &header, sizeof(header));
  return bytes;
}

}  // namespace

size_t EncodeSense(const Sense& sense, bool descriptor_format, std::span<uint8_t> out) {
  return descriptor_format ? EncodeDescriptors(sense, out) : EncodeFixed(sense, out);
}

Sense SenseOfIo(IoStatus status, bool write) {
  switch (status) {
    case IoStatus::kOutOfRange:  // The device shrank after the command was checked.
      return IllegalRequest(AdditionalSense::kLbaOutOfRange);
    case IoStatus::kNotSupported:
      return IllegalRequest(AdditionalSense::kInvalidOpcode);
    case IoStatus::kWriteProtected:
      return {SenseKey::kDataProtect, AdditionalSense::kWriteProtected};
    case IoStatus::kMediumError:
      return {SenseKey::kMediumError,
              write ? AdditionalSense::kWriteError : AdditionalSense::kUnrecoveredReadError};
    case IoStatus::kNoSpace:
      return {SenseKey::kDataProtect, AdditionalSense::kSpaceAllocationFailed};
    case IoStatus::kMiscompare:
      return {SenseKey::kMiscompare, AdditionalSense::kMiscompareDuringVerify};
    case IoStatus::kAborted:  // By a reset of the device; the initiator tries again.
    case IoStatus::kNoResources:
      return {SenseKey::kAbortedCommand, AdditionalSense::kNone};
    case IoStatus::kTimedOut:
      return {SenseKey::kAbortedCommand, AdditionalSense::kCommandTimeout};
    case IoStatus::kGone:
      return IllegalRequest(AdditionalSense::kUnitNotSupported);
    case IoStatus::kSuccess:
    case IoStatus::kInvalidRequest:
    case IoStatus::kInternalError:
    case IoStatus::kNvmeFailure:  // See Execution::EndWithIo().
      break;
  }
  return {SenseKey::kHardwareError, AdditionalSense::kInternalTargetFailure};
}

}  // namespace pollux::scsi
