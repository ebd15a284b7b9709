#pragma once
#include <bit>
#include <cstdint>

#include "targets/scsi/sense.h"

namespace pollux::scsi {

// In order of precedence (SAM-5 §5.14.2): what is reported first.
enum class UnitAttention : uint8_t {
  kPowerOn,
  kReset,
  kNotReadyToReady,
  kReportedLunsChanged,
  kInquiryDataChanged,
  kCapacityChanged,
  kModeParametersChanged,
  kAccessStateChanged,
  kReservationsPreempted,
  kReservationsReleased,
  kRegistrationsPreempted,
};

// The unit attention conditions that a nexus has still to hear of one LUN. A condition is there
// once, however often it arose, so the queue is bounded by their number.
class UnitAttentions {
 public:
  bool any() const { return bits_ != 0; }
  void Add(UnitAttention condition) { bits_ |= Bit(condition); }
  void Clear(UnitAttention condition) { bits_ &= static_cast<uint16_t>(~Bit(condition)); }
  // The first condition, which is cleared. There must be one.
  UnitAttention Take() {
    const auto first = static_cast<UnitAttention>(std::countr_zero(bits_));
    Clear(first);
    return first;
  }

 private:
  static uint16_t Bit(UnitAttention condition) {
    return static_cast<uint16_t>(1u << static_cast<unsigned>(condition));
  }
  uint16_t bits_ = 0;
};

inline Sense SenseOf(UnitAttention condition) {
  const auto code = [condition] {
    switch (condition) {
      case UnitAttention::kPowerOn:
        return AdditionalSense::kPowerOn;
      case UnitAttention::kReset:
        return AdditionalSense::kResetFunctionOccurred;
      case UnitAttention::kNotReadyToReady:
        return AdditionalSense::kNotReadyToReady;
      case UnitAttention::kReportedLunsChanged:
        return AdditionalSense::kReportedLunsChanged;
      case UnitAttention::kInquiryDataChanged:
        return AdditionalSense::kInquiryDataChanged;
      case UnitAttention::kCapacityChanged:
        return AdditionalSense::kCapacityChanged;
      case UnitAttention::kModeParametersChanged:
        return AdditionalSense::kModeParametersChanged;
      case UnitAttention::kAccessStateChanged:
        return AdditionalSense::kAccessStateChanged;
      case UnitAttention::kReservationsPreempted:
        return AdditionalSense::kReservationsPreempted;
      case UnitAttention::kReservationsReleased:
        return AdditionalSense::kReservationsReleased;
      case UnitAttention::kRegistrationsPreempted:
        return AdditionalSense::kRegistrationsPreempted;
    }
    return AdditionalSense::kNone;
  }();
  return {SenseKey::kUnitAttention, code};
}

}  // namespace pollux::scsi
