#pragma once
#include <cstdint>

namespace pollux::ioat {

// What is known of a device by its PCI identifiers.
struct DeviceModel {
  uint16_t first, last;  // Device ids.
  const char* name;
  // XOR and PQ are not used, whatever DMACAPABILITY says: they have errata (Linux does the same).
  bool no_raid = false;
  uint8_t version_max = 0xff;  // Of what it says, this much is true.
};

// Null: it is no I/OAT device that this driver knows.
const DeviceModel* FindDeviceModel(uint16_t vendor, uint16_t device);

}  // namespace pollux::ioat
