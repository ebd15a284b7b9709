// Intel I/OAT (CBDMA, QuickData Technology) 3.0 to 3.4, as the Intel Xeon E7 v2 datasheet, volume
// 2, section 14.5, and the drivers of Linux 6.1 and DPDK describe it. Only what we use. No
// behaviour.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/mmio.h"
#include "core/wire_int.h"

namespace pollux::ioat {

inline constexpr uint16_t kVendorIntel = 0x8086;
inline constexpr uint32_t kClassCode = 0x088000;  // System peripheral, other.

// --- Registers of the device: BAR 0.
inline constexpr Reg<uint8_t> kChancnt{0x00};      // Channels, bits 4:0
inline constexpr Reg<uint8_t> kXfercap{0x01};      // Log2 of a descriptor's bytes, bits 4:0
inline constexpr Reg<uint8_t> kGenctrl{0x02};      // General control
inline constexpr Reg<uint8_t> kIntrctrl{0x03};     // Interrupt control
inline constexpr Reg<uint32_t> kAttnstatus{0x04};  // Channels that want attention; clears on read
inline constexpr Reg<uint8_t> kCbver{0x08};        // Version, major << 4 | minor
inline constexpr Reg<uint16_t> kPerportoffset{0x0a};  // Unused
inline constexpr Reg<uint16_t> kIntrdelay{0x0c};      // Interrupt delay in microseconds
inline constexpr Reg<uint16_t> kCsStatus{0x0e};       // Chipset status
inline constexpr Reg<uint32_t> kDmacapability{0x10};  // What it can do
inline constexpr Reg<uint16_t> kDcaoffset{0x14};      // Direct cache access; 0: none
inline constexpr uint64_t kBarBytes = 0x4000;
inline constexpr int kChannelsMax = 4;

namespace intrctrl {
inline constexpr Field<uint8_t> kMasterEnable{0, 1};
inline constexpr Field<uint8_t> kStatus{1, 1};     // Some channel wants attention. Read only
inline constexpr Field<uint8_t> kInterrupt{2, 1};  // The two together. Read only
inline constexpr Field<uint8_t> kVectorControl{3, 1};
}  // namespace intrctrl

namespace capability {  // DMACAPABILITY
inline constexpr uint32_t kPageBreak = 1u << 0;
inline constexpr uint32_t kFill = 1u << 6;
inline constexpr uint32_t kXor = 1u << 8;
inline constexpr uint32_t kPq = 1u << 9;
inline constexpr uint32_t kDwbes = 1u << 13;  // Error status written back into the descriptor
inline constexpr uint32_t kRaid16 = 1u << 17;
inline constexpr uint32_t kDps = 1u << 23;  // Descriptor prefetch
}  // namespace capability

inline constexpr uint8_t kVersion30 = 0x30, kVersion32 = 0x32, kVersion33 = 0x33, kVersion34 = 0x34;

// --- Registers of channel n, which begin at ChannelOffset(n).
constexpr uint64_t ChannelOffset(unsigned channel) { return 0x80 * (uint64_t{channel} + 1); }
inline constexpr uint64_t kChannelBytes = 0x80;
inline constexpr Reg<uint16_t> kChanctrl{0x00};  // Channel control
inline constexpr Reg<uint16_t> kDmaComp{0x02};   // Compatibility
inline constexpr Reg<uint8_t> kChancmd{0x04};    // Command
inline constexpr Reg<uint16_t> kDmacount{0x06};  // Descriptors made ready since CHAINADDR; doorbell
inline constexpr Reg<uint64_t> kChansts{0x08};   // Status
inline constexpr Reg<uint64_t> kChainaddr{0x10};   // First descriptor
inline constexpr Reg<uint64_t> kChancmp{0x18};     // Where the status is written to
inline constexpr Reg<uint64_t> kCdar{0x20};        // Current descriptor
inline constexpr Reg<uint32_t> kChanerr{0x28};     // Errors, written 1 to clear
inline constexpr Reg<uint32_t> kChanerrmsk{0x2c};  // Errors that are not reported
inline constexpr Reg<uint32_t> kDcactrl{0x30};     // Direct cache access

namespace chanctrl {
inline constexpr uint16_t kInterruptDisable = 1u << 0;  // Latched by an interrupt; 1 re-arms
inline constexpr uint16_t kErrorCompletion = 1u << 2;   // Write the status on an error
inline constexpr uint16_t kAnyErrorAbort = 1u << 3;
inline constexpr uint16_t kErrorInterrupt = 1u << 4;
inline constexpr uint16_t kInUse = 1u << 8;  // Set by being read; written 0 to release
}  // namespace chanctrl

namespace chancmd {
inline constexpr uint8_t kSuspend = 0x04;
inline constexpr uint8_t kReset = 0x20;  // Reads 1 until the reset has ended
}  // namespace chancmd

namespace chansts {  // Also what is written to the completion address.
inline constexpr Field<uint64_t> kState{0, 3};
inline constexpr uint64_t kAddressMask = ~uint64_t{0x3f};  // Of the last completed descriptor
inline constexpr uint64_t kActive = 0, kIdle = 1, kSuspended = 2, kHalted = 3, kArmed = 4;
}  // namespace chansts

namespace chanerr {
inline constexpr uint32_t kSourceAddress = 1u << 0;
inline constexpr uint32_t kDestinationAddress = 1u << 1;
inline constexpr uint32_t kNextAddress = 1u << 2;
inline constexpr uint32_t kDescriptor = 1u << 3;
inline constexpr uint32_t kChainAddress = 1u << 4;
inline constexpr uint32_t kChancmd = 1u << 5;
inline constexpr uint32_t kChipsetIntegrity = 1u << 6;
inline constexpr uint32_t kDmaIntegrity = 1u << 7;
inline constexpr uint32_t kReadData = 1u << 8;
inline constexpr uint32_t kWriteData = 1u << 9;
inline constexpr uint32_t kControl = 1u << 10;
inline constexpr uint32_t kLength = 1u << 11;
inline constexpr uint32_t kCompletionAddress = 1u << 12;
inline constexpr uint32_t kInterruptConfiguration = 1u << 13;
inline constexpr uint32_t kSoft = 1u << 14;
inline constexpr uint32_t kUnaffiliated = 1u << 15;
inline constexpr uint32_t kXorMismatch = 1u << 16;  // Or P, or CRC
inline constexpr uint32_t kQMismatch = 1u << 17;
inline constexpr uint32_t kDescriptorCount = 1u << 18;
inline constexpr unsigned kBits = 19;
}  // namespace chanerr

// --- Extended configuration space.
inline constexpr uint32_t kDmauncerrsts = 0x148;   // Written 1 to clear
inline constexpr uint32_t kChanerrInt = 0x180;     // CHANERR once more, written 1 to clear
inline constexpr uint32_t kChanerrmskInt = 0x184;  // Its mask

// --- Descriptors: 64 bytes, aligned to 64, linked by `next`.
inline constexpr size_t kDescriptorBytes = 64;

namespace control {
inline constexpr uint32_t kInterrupt = 1u << 0;
inline constexpr uint32_t kCompletionUpdate = 1u << 3;  // Write the status when it is done
inline constexpr uint32_t kFence = 1u << 4;             // Finish it before the next is begun
inline constexpr uint32_t kNull = 1u << 5;              // COPY: moves nothing
inline constexpr Field<uint32_t> kSourceCount{5, 3};    // XOR, PQ: sources - 2
inline constexpr uint32_t kPDisable = 1u << 11;         // PQ
inline constexpr uint32_t kQDisable = 1u << 12;         // PQ
inline constexpr Field<uint32_t> kOpcode{24, 8};
}  // namespace control

namespace opcode {
inline constexpr uint32_t kCopy = 0x00;
inline constexpr uint32_t kFill = 0x01;
inline constexpr uint32_t kXor = 0x87;
inline constexpr uint32_t kXorValidate = 0x88;
inline constexpr uint32_t kPq = 0x89;
inline constexpr uint32_t kPqValidate = 0x8a;
}  // namespace opcode

inline constexpr int kXorSources = 5,
                     kPqSources = 3;  // In the first descriptor; more need a second
inline constexpr int kSourcesMin = 2, kSourcesMax = 8;

struct Descriptor {
  Le32 size;
  Le32 control;
  Le64 source;  // FILL: the pattern, from its low byte
  Le64 destination;
  Le64 next;
  Le64 rest[4];
};
static_assert(sizeof(Descriptor) == kDescriptorBytes);
static_assert(offsetof(Descriptor, next) == 0x18);

struct XorDescriptor {
  Le32 size;
  Le32 control;
  Le64 source1;
  Le64 destination;
  Le64 next;
  Le64 source2, source3, source4, source5;
};
static_assert(sizeof(XorDescriptor) == kDescriptorBytes);
static_assert(offsetof(XorDescriptor, source2) == 0x20);

// What follows an XOR of more than five sources. It has no control word.
struct XorExtension {
  Le64 source6, source7, source8;
  Le64 next;
  Le64 reserved[4];
};
static_assert(sizeof(XorExtension) == kDescriptorBytes);
static_assert(offsetof(XorExtension, next) == 0x18);

struct PqDescriptor {
  Le32 size;
  Le32 control;
  Le64 source1;
  Le64 p;
  Le64 next;
  Le64 source2, source3;
  uint8_t coefficients[8];  // One per source
  Le64 q;
};
static_assert(sizeof(PqDescriptor) == kDescriptorBytes);
static_assert(offsetof(PqDescriptor, coefficients) == 0x30);
static_assert(offsetof(PqDescriptor, q) == 0x38);

// What follows a PQ of more than three sources.
struct PqExtension {
  Le64 source4, source5, source6;
  Le64 next;
  Le64 source7, source8;
  Le64 reserved[2];
};
static_assert(sizeof(PqExtension) == kDescriptorBytes);
static_assert(offsetof(PqExtension, source7) == 0x20);

}  // namespace pollux::ioat
