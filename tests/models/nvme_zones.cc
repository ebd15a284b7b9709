#include "tests/models/nvme_zones.h"

#include <algorithm>

#include "core/spec/nvme_spec.h"

namespace pollux::models {

namespace status = nvme::status;

ZoneSet::ZoneSet(const Options& options, uint64_t blocks) : options_(options) {
  zones_.resize(blocks / options.zone_blocks);
  for (size_t i = 0; i < zones_.size(); ++i) {
    zones_[i].start = i * options.zone_blocks;
    zones_[i].capacity = options.capacity_blocks;
  }
}

bool ZoneSet::IsOpen(const Zone& zone) const {
  return zone.state == ZoneState::kImplicitlyOpen || zone.state == ZoneState::kExplicitlyOpen;
}

bool ZoneSet::IsActive(const Zone& zone) const {
  return IsOpen(zone) || zone.state == ZoneState::kClosed;
}

uint16_t ZoneSet::Activate(const Zone& zone) {
  const auto active = std::count_if(zones_.begin(), zones_.end(),
                                    [this](const Zone& other) { return IsActive(other); });
  if (!IsActive(zone) && options_.active_max != 0 && active >= options_.active_max) {
    return status::kTooManyActiveZones;
  }
  const auto open = std::count_if(zones_.begin(), zones_.end(),
                                  [this](const Zone& other) { return IsOpen(other); });
  if (IsOpen(zone) || options_.open_max == 0 || open < options_.open_max) return status::kSuccess;
  for (Zone& other : zones_) {
    if (other.state != ZoneState::kImplicitlyOpen) continue;
    other.state = ZoneState::kClosed;
    return status::kSuccess;
  }
  return status::kTooManyOpenZones;
}

uint16_t ZoneSet::CheckWrite(const Zone& zone, uint64_t count) {
  switch (zone.state) {
    case ZoneState::kFull:
      return status::kZoneFull;
    case ZoneState::kReadOnly:
      return status::kZoneReadOnly;
    case ZoneState::kOffline:
      return status::kZoneOffline;
    case ZoneState::kEmpty:
    case ZoneState::kImplicitlyOpen:
    case ZoneState::kExplicitlyOpen:
    case ZoneState::kClosed:
      break;
  }
  if (zone.written + count > zone.capacity) return status::kZoneBoundaryError;
  return Activate(zone);
}

void ZoneSet::Advance(Zone& zone, uint64_t count) {
  zone.written += count;
  if (zone.written == zone.capacity) {
    zone.state = ZoneState::kFull;
  } else if (!IsOpen(zone)) {
    zone.state = ZoneState::kImplicitlyOpen;
  }
}

uint16_t ZoneSet::Write(uint64_t lba, uint64_t count) {
  Zone& zone = Of(lba);
  if (zone.state != ZoneState::kFull && zone.state != ZoneState::kReadOnly &&
      zone.state != ZoneState::kOffline && lba != zone.start + zone.written) {
    return status::kZoneInvalidWrite;
  }
  if (uint16_t code = CheckWrite(zone, count); code != 0) return code;
  Advance(zone, count);
  return status::kSuccess;
}

uint16_t ZoneSet::Append(uint64_t zone_start, uint64_t count, uint64_t* lba) {
  Zone& zone = Of(zone_start);
  if (zone.start != zone_start) return status::kInvalidField;
  if (uint16_t code = CheckWrite(zone, count); code != 0) return code;
  *lba = zone.start + zone.written;
  Advance(zone, count);
  return status::kSuccess;
}

uint16_t ZoneSet::CheckRead(uint64_t lba, uint64_t count) const {
  const uint64_t last = (lba + count - 1) / options_.zone_blocks;
  for (uint64_t i = lba / options_.zone_blocks; i <= last && i < zones_.size(); ++i) {
    if (zones_[i].state == ZoneState::kOffline) return status::kZoneOffline;
  }
  return status::kSuccess;
}

uint16_t ZoneSet::Open(Zone& zone) {
  if (zone.state == ZoneState::kFull || zone.state == ZoneState::kReadOnly ||
      zone.state == ZoneState::kOffline) {
    return status::kInvalidZoneStateTransition;
  }
  if (uint16_t code = Activate(zone); code != 0) return code;
  zone.state = ZoneState::kExplicitlyOpen;
  return status::kSuccess;
}

uint16_t ZoneSet::Close(Zone& zone) {
  if (!IsActive(zone)) return status::kInvalidZoneStateTransition;
  zone.state = zone.written == 0 ? ZoneState::kEmpty : ZoneState::kClosed;
  return status::kSuccess;
}

uint16_t ZoneSet::Finish(Zone& zone) {
  if (zone.state == ZoneState::kFull) return status::kSuccess;
  if (zone.state == ZoneState::kReadOnly || zone.state == ZoneState::kOffline) {
    return status::kInvalidZoneStateTransition;
  }
  if (uint16_t code = Activate(zone); code != 0) return code;
  zone.state = ZoneState::kFull;
  return status::kSuccess;
}

uint16_t ZoneSet::Reset(Zone& zone) {
  if (zone.state == ZoneState::kReadOnly || zone.state == ZoneState::kOffline) {
    return status::kInvalidZoneStateTransition;
  }
  zone.state = ZoneState::kEmpty;
  zone.written = 0;
  return status::kSuccess;
}

uint16_t ZoneSet::TakeOffline(Zone& zone) {
  if (zone.state != ZoneState::kReadOnly && zone.state != ZoneState::kOffline) {
    return status::kInvalidZoneStateTransition;
  }
  zone.state = ZoneState::kOffline;
  return status::kSuccess;
}

}  // namespace pollux::models
