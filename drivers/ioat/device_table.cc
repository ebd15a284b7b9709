#include "drivers/ioat/device_table.h"

#include "core/spec/ioat_spec.h"

namespace pollux::ioat {
namespace {

constexpr DeviceModel kModels[] = {
    {0x3429, 0x342c, "Tylersburg"},          {0x3430, 0x3433, "Tylersburg"},
    {0x3710, 0x3719, "Jasper Forest", true}, {0x3c20, 0x3c27, "Sandy Bridge", true},
    {0x3c2e, 0x3c2f, "Sandy Bridge", true},  {0x0e20, 0x0e27, "Ivy Bridge", true},
    {0x0e2e, 0x0e2f, "Ivy Bridge", true},    {0x2f20, 0x2f27, "Haswell", true},
    {0x2f2e, 0x2f2f, "Haswell", true},       {0x6f20, 0x6f27, "Broadwell", true},
    {0x6f2e, 0x6f2f, "Broadwell", true},     {0x2021, 0x2021, "Skylake", true, kVersion32},
    {0x0c50, 0x0c51, "Atom S1200"},          {0x0c52, 0x0c53, "Atom S1200", true},
    {0x6f50, 0x6f53, "Broadwell-DE", true},  {0x0b00, 0x0b00, "Ice Lake"},
};

}  // namespace

const DeviceModel* FindDeviceModel(uint16_t vendor, uint16_t device) {
  if (vendor != kVendorIntel) return nullptr;
  for (const DeviceModel& model : kModels) {
    if (device >= model.first && device <= model.last) return &model;
  }
  return nullptr;
}

}  // namespace pollux::ioat
