// PCI Local Bus Specification 3.0; PCI Bus Power Management Interface Specification 1.2; PCI
// Express Base Specification 4.0. Only what we use, with the documents' names.
#pragma once
#include <cstdint>

#include "core/mmio.h"

namespace pollux::pci_spec {

// What a read returns that nothing answers. PCI Express 4.0 §2.3.2.
inline constexpr uint32_t kAllOnes = 0xffffffff;

inline constexpr uint32_t kConfigBytes = 256;           // PCI 3.0 §6.1.
inline constexpr uint32_t kExtendedConfigBytes = 4096;  // PCI Express 4.0 §7.2.2.

// --- Configuration space header, type 00h. PCI 3.0 §6.1, figure 6-1.

inline constexpr Reg<uint16_t> kVendorId{0x00};
inline constexpr Reg<uint16_t> kDeviceId{0x02};
inline constexpr Reg<uint16_t> kCommand{0x04};
inline constexpr Reg<uint16_t> kStatus{0x06};
inline constexpr Reg<uint8_t> kRevisionId{0x08};
inline constexpr Reg<uint8_t> kProgrammingInterface{0x09};  // The three bytes of the class code.
inline constexpr Reg<uint8_t> kSubClass{0x0a};
inline constexpr Reg<uint8_t> kBaseClass{0x0b};
inline constexpr Reg<uint8_t> kCacheLineSize{0x0c};
inline constexpr Reg<uint8_t> kLatencyTimer{0x0d};
inline constexpr Reg<uint8_t> kHeaderType{0x0e};
inline constexpr Reg<uint8_t> kBist{0x0f};
inline constexpr Reg<uint32_t> kBar0{0x10};  // BAR n at kBar0 + 4n.
inline constexpr int kBars = 6;
inline constexpr Reg<uint16_t> kSubsystemVendorId{0x2c};
inline constexpr Reg<uint16_t> kSubsystemId{0x2e};
inline constexpr Reg<uint32_t> kExpansionRom{0x30};
inline constexpr Reg<uint8_t> kCapabilitiesPointer{0x34};
inline constexpr Reg<uint8_t> kInterruptLine{0x3c};
inline constexpr Reg<uint8_t> kInterruptPin{0x3d};  // 0: none; 1: INTA#.
inline constexpr uint32_t kHeaderBytes = 0x40;

inline constexpr uint16_t kVendorIdInvalid = 0xffff;  // §6.2.1: no device.

namespace command {  // §6.2.2
inline constexpr Field<uint16_t> kIoSpace{0, 1};
inline constexpr Field<uint16_t> kMemorySpace{1, 1};
inline constexpr Field<uint16_t> kBusMaster{2, 1};
inline constexpr Field<uint16_t> kInterruptDisable{10, 1};
}  // namespace command

namespace status {  // §6.2.3
inline constexpr Field<uint16_t> kInterruptStatus{3, 1};
inline constexpr Field<uint16_t> kCapabilitiesList{4, 1};
}  // namespace status

namespace header_type {  // §6.2.1
inline constexpr Field<uint8_t> kLayout{0, 7};
inline constexpr Field<uint8_t> kMultiFunction{7, 1};
inline constexpr uint8_t kDevice = 0x00;
inline constexpr uint8_t kBridge = 0x01;
}  // namespace header_type

// PCI Code and ID Assignment Specification 1.11.
namespace class_code {  // Base class, sub-class, programming interface.
inline constexpr uint32_t kBridgeBase = 0x06;
inline constexpr uint32_t kNvme = 0x010802;  // NVM Express I/O controller.
}  // namespace class_code

namespace bar {  // §6.2.5.1
inline constexpr Field<uint32_t> kIoSpace{0, 1};
inline constexpr Field<uint32_t> kType{1, 2};
inline constexpr uint32_t kType32 = 0;
inline constexpr uint32_t kType64 = 2;
inline constexpr Field<uint32_t> kPrefetchable{3, 1};
inline constexpr uint32_t kMemoryAddressMask = 0xfffffff0;
inline constexpr uint32_t kIoAddressMask = 0xfffffffc;
}  // namespace bar

// --- Capabilities. §6.7: each begins with these two; offsets below are relative to the capability.

inline constexpr Reg<uint8_t> kCapabilityId{0x00};
inline constexpr Reg<uint8_t> kNextCapability{0x01};  // 0: the last. Bits 0 and 1 are reserved.
inline constexpr uint8_t kCapabilityPointerMask = 0xfc;
// As many as fit between the header and the end, 4 bytes each: more are a loop.
inline constexpr int kCapabilitiesMax = (kConfigBytes - kHeaderBytes) / 4;

// PCI 3.0 appendix H.
inline constexpr uint8_t kPowerManagementId = 0x01;
inline constexpr uint8_t kMsiId = 0x05;
inline constexpr uint8_t kVendorSpecificId = 0x09;
inline constexpr uint8_t kPciExpressId = 0x10;
inline constexpr uint8_t kMsixId = 0x11;

namespace pm {  // PCI Power Management 1.2 §3.2
inline constexpr Reg<uint16_t> kPmc{0x02};
inline constexpr Reg<uint16_t> kPmcsr{0x04};
inline constexpr uint32_t kBytes = 8;
inline constexpr Field<uint16_t> kVersion{0, 3};      // In PMC.
inline constexpr Field<uint16_t> kPowerState{0, 2};   // In PMCSR: 0 is D0, 3 is D3hot.
inline constexpr Field<uint16_t> kNoSoftReset{3, 1};  // In PMCSR.
}  // namespace pm

namespace msi {  // PCI 3.0 §6.8.1
inline constexpr Reg<uint16_t> kMessageControl{0x02};
inline constexpr Reg<uint32_t> kMessageAddress{0x04};
inline constexpr Reg<uint32_t> kMessageUpperAddress{0x08};  // With 64 bits only.
inline constexpr Reg<uint16_t> kMessageData32{0x08};
inline constexpr Reg<uint16_t> kMessageData64{0x0c};
// In the message control register.
inline constexpr Field<uint16_t> kEnable{0, 1};
inline constexpr Field<uint16_t> kMultipleMessageCapable{1, 3};  // Log2 of vectors.
inline constexpr Field<uint16_t> kMultipleMessageEnable{4, 3};
inline constexpr Field<uint16_t> k64Bit{7, 1};
}  // namespace msi

namespace msix {  // PCI 3.0 §6.8.2
inline constexpr Reg<uint16_t> kMessageControl{0x02};
inline constexpr Reg<uint32_t> kTable{0x04};
inline constexpr Reg<uint32_t> kPba{0x08};
inline constexpr uint32_t kBytes = 12;
// In the message control register.
inline constexpr Field<uint16_t> kTableSize{0, 11};  // Vectors - 1.
inline constexpr Field<uint16_t> kFunctionMask{14, 1};
inline constexpr Field<uint16_t> kEnable{15, 1};
// In the table and PBA registers.
inline constexpr Field<uint32_t> kBir{0, 3};  // The BAR that it lies in.
inline constexpr uint32_t kOffsetMask = 0xfffffff8;
// The table itself.
inline constexpr uint32_t kEntryBytes = 16;
inline constexpr Reg<uint32_t> kEntryVectorControl{0x0c};
inline constexpr Field<uint32_t> kEntryMask{0, 1};
}  // namespace msix

namespace express {  // PCI Express 4.0 §7.5.3
inline constexpr Reg<uint16_t> kCapabilities{0x02};
inline constexpr Reg<uint32_t> kDeviceCapabilities{0x04};
inline constexpr Reg<uint16_t> kDeviceControl{0x08};
inline constexpr Reg<uint16_t> kDeviceStatus{0x0a};
inline constexpr Reg<uint32_t> kLinkCapabilities{0x0c};
inline constexpr Reg<uint16_t> kLinkControl{0x10};
inline constexpr Reg<uint16_t> kLinkStatus{0x12};
inline constexpr uint32_t kBytes = 0x3c;                      // Version 2 of the capability.
inline constexpr Field<uint16_t> kVersion{0, 4};              // In capabilities.
inline constexpr Field<uint16_t> kPortType{4, 4};             // In capabilities: 0 is an endpoint.
inline constexpr Field<uint32_t> kFunctionLevelReset{28, 1};  // In device capabilities.
inline constexpr Field<uint16_t> kInitiateFlr{15, 1};         // In device control.
inline constexpr Field<uint16_t> kTransactionsPending{5, 1};  // In device status.
inline constexpr Field<uint16_t> kLinkSpeed{0, 4};            // In link status: 1 is 2.5 GT/s.
inline constexpr Field<uint16_t> kLinkWidth{4, 6};            // In link status: lanes.
}  // namespace express

}  // namespace pollux::pci_spec
