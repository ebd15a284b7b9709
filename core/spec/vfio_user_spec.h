// vfio-user protocol, version 0.x (QEMU's docs/interop/vfio-user.rst as of 10.2). Integers are of
// the host's byte order, which is little-endian here. Only what we use.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/wire_int.h"

namespace pollux::vfio_user_spec {

inline constexpr uint16_t kMajor = 0;
inline constexpr uint16_t kMinorMax = 1;

enum class Command : uint16_t {
  kVersion = 1,
  kDmaMap = 2,
  kDmaUnmap = 3,
  kDeviceGetInfo = 4,
  kDeviceGetRegionInfo = 5,
  kDeviceGetRegionIoFds = 6,
  kDeviceGetIrqInfo = 7,
  kDeviceSetIrqs = 8,
  kRegionRead = 9,
  kRegionWrite = 10,
  kDmaRead = 11,  // This and the next go from server to client.
  kDmaWrite = 12,
  kDeviceReset = 13,
  kRegionWriteMulti = 15,
  kDeviceFeature = 16,
  kMigDataRead = 17,
  kMigDataWrite = 18,
};

// Before every message, both ways.
struct Header {
  Le16 message_id;    // Echoed in the reply.
  Le16 command;       // Also in the reply.
  Le32 message_size;  // With this header.
  Le32 flags;
  Le32 error;  // A positive errno, in a reply with kFlagError.
};
static_assert(sizeof(Header) == 16);
static_assert(offsetof(Header, message_size) == 4 && offsetof(Header, error) == 12);

inline constexpr uint32_t kTypeMask = 0xf;
inline constexpr uint32_t kTypeCommand = 0;
inline constexpr uint32_t kTypeReply = 1;
inline constexpr uint32_t kFlagNoReply = 1 << 4;
inline constexpr uint32_t kFlagError = 1 << 5;

// VERSION. JSON may follow, ended by a NUL that counts.
struct Version {
  Le16 major;
  Le16 minor;
};
static_assert(sizeof(Version) == 4);

// argsz: in a request, the largest reply payload that the client takes; in a reply, what the whole
// answer needs. Of DMA_MAP and SET_IRQS, which are answered by a header: the size of the request.

struct DmaMap {
  Le32 argsz;
  Le32 flags;
  Le64 offset;  // In the file that came along.
  Le64 address;
  Le64 size;
};
static_assert(sizeof(DmaMap) == 32);
static_assert(offsetof(DmaMap, offset) == 8 && offsetof(DmaMap, address) == 16);

inline constexpr uint32_t kDmaMapReadable = 1 << 0;
inline constexpr uint32_t kDmaMapWritable = 1 << 1;
inline constexpr uint32_t kDmaMapMmap = 1 << 2;    // Reach it by mmap,
inline constexpr uint32_t kDmaMapFileIo = 1 << 3;  // or by pread and pwrite only.

struct DmaUnmap {  // The reply repeats it.
  Le32 argsz;
  Le32 flags;
  Le64 address;
  Le64 size;
};
static_assert(sizeof(DmaUnmap) == 24);
static_assert(offsetof(DmaUnmap, address) == 8);

inline constexpr uint32_t kDmaUnmapDirtyBitmap = 1 << 0;
inline constexpr uint32_t kDmaUnmapAll = 1 << 1;

struct DeviceInfo {
  Le32 argsz;
  Le32 flags;
  Le32 num_regions;
  Le32 num_irqs;
};
static_assert(sizeof(DeviceInfo) == 16);

inline constexpr uint32_t kDeviceReset = 1 << 0;
inline constexpr uint32_t kDevicePci = 1 << 1;

// Of a PCI device: BAR 0 to 5, then these.
enum RegionIndex : uint32_t {
  kRegionRom = 6,
  kRegionConfig = 7,
  kRegionVga = 8,
};
inline constexpr uint32_t kPciBars = 6;
inline constexpr uint32_t kPciRegions = 9;

// GET_REGION_INFO, both ways. Capabilities may follow in the reply.
struct RegionInfo {
  Le32 argsz;
  Le32 flags;
  Le32 index;
  Le32 cap_offset;  // From the start of the payload; 0: none.
  Le64 size;
  Le64 offset;  // Of the region's byte 0, in the file that comes along.
};
static_assert(sizeof(RegionInfo) == 32);
static_assert(offsetof(RegionInfo, cap_offset) == 12);
static_assert(offsetof(RegionInfo, size) == 16);

inline constexpr uint32_t kRegionReadable = 1 << 0;
inline constexpr uint32_t kRegionWritable = 1 << 1;
inline constexpr uint32_t kRegionMmap = 1 << 2;
inline constexpr uint32_t kRegionCaps = 1 << 3;

struct CapabilityHeader {
  Le16 id;
  Le16 version;
  Le32 next;  // From the start of the payload; 0: the last.
};
static_assert(sizeof(CapabilityHeader) == 8);

inline constexpr uint16_t kCapSparseMmap = 1;

struct SparseMmap {  // nr_areas times SparseArea follow.
  CapabilityHeader header;
  Le32 nr_areas;
  Le32 reserved;
};
static_assert(sizeof(SparseMmap) == 16);

struct SparseArea {
  Le64 offset;  // In the region.
  Le64 size;
};
static_assert(sizeof(SparseArea) == 16);

struct RegionIoFds {
  Le32 argsz;
  Le32 flags;
  Le32 index;
  Le32 count;
};
static_assert(sizeof(RegionIoFds) == 16);

// Before the data of REGION_READ's reply and of REGION_WRITE's request.
struct RegionAccess {
  Le64 offset;
  Le32 region;
  Le32 count;
};
static_assert(sizeof(RegionAccess) == 16);
static_assert(offsetof(RegionAccess, region) == 8);

// REGION_WRITE_MULTI: Le64 number of entries, then the entries. The reply is the number.
struct WriteMultiEntry {
  Le64 offset;
  Le32 region;
  Le32 count;
  std::byte data[8];
};
static_assert(sizeof(WriteMultiEntry) == 24);

enum IrqIndex : uint32_t { kIrqIntx, kIrqMsi, kIrqMsix, kIrqErr, kIrqReq };
inline constexpr uint32_t kPciIrqs = 5;

struct IrqInfo {
  Le32 argsz;
  Le32 flags;
  Le32 index;
  Le32 count;
};
static_assert(sizeof(IrqInfo) == 16);

inline constexpr uint32_t kIrqEventfd = 1 << 0;
inline constexpr uint32_t kIrqMaskable = 1 << 1;
inline constexpr uint32_t kIrqAutomasked = 1 << 2;

struct SetIrqs {  // With DATA_BOOL, `count` bytes follow.
  Le32 argsz;
  Le32 flags;
  Le32 index;
  Le32 start;
  Le32 count;
};
static_assert(sizeof(SetIrqs) == 20);

inline constexpr uint32_t kIrqDataNone = 1 << 0;
inline constexpr uint32_t kIrqDataBool = 1 << 1;
inline constexpr uint32_t kIrqDataEventfd = 1 << 2;
inline constexpr uint32_t kIrqDataMask = 0x07;
inline constexpr uint32_t kIrqMask = 1 << 3;
inline constexpr uint32_t kIrqUnmask = 1 << 4;
inline constexpr uint32_t kIrqTrigger = 1 << 5;
inline constexpr uint32_t kIrqActionMask = 0x38;

// DMA_READ and DMA_WRITE: data follow. We refuse both.
struct DmaAccess {
  Le64 address;
  Le64 count;
};
static_assert(sizeof(DmaAccess) == 16);

}  // namespace pollux::vfio_user_spec
