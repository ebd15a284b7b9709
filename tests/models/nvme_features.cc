#include "tests/models/nvme_features.h"

namespace pollux::models {
namespace {

namespace feature = nvme::feature;

Features::Value With(uint32_t value, bool saveable = false, bool per_namespace = false) {
  return {.current = value,
          .saved = value,
          .first = value,
          .saveable = saveable,
          .per_namespace = per_namespace};
}

}  // namespace

Features::Features() {
  Add(feature::kArbitration, With(0x07, true));
  Add(feature::kPowerManagement, With(0));
  Add(feature::kTemperatureThreshold, With(343));
  Add(feature::kErrorRecovery, With(0, true, true));
  Add(feature::kVolatileWriteCache, With(1, true));
  Add(feature::kNumberOfQueues, With(0));
  Add(feature::kInterruptCoalescing, With(0));
  Add(feature::kInterruptVectorConfiguration, With(0));
  Add(feature::kWriteAtomicity, With(0));
  Add(feature::kAsyncEventConfiguration, With(0));
  Add(feature::kHostMemoryBuffer, With(0));
  Add(feature::kTimestamp, With(0));
  Add(feature::kKeepAliveTimer, With(0));
  Add(feature::kHostBehaviorSupport, With(0));
  Add(feature::kIoCommandSetProfile, With(0));
  Add(feature::kHostIdentifier, With(0));
  Add(feature::kReservationNotificationMask, With(0, false, true));
  Add(feature::kReservationPersistence, With(0, false, true));
  Add(feature::kNamespaceWriteProtection, With(0, false, true));
}

void Features::Reset() {
  for (auto& [id, value] : values_) value.current = value.saveable ? value.saved : value.first;
  host_identifier = {};
  host_identifier_bytes = 0;
  host_behavior = {};
  host_memory = {};
}

}  // namespace pollux::models
