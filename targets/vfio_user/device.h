#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/task.h"

namespace pollux::vfio_user {

inline constexpr int kBarCount = 6;
inline constexpr int kRomRegion = 6;
inline constexpr int kConfigRegion = 7;
inline constexpr int kRegionCount = 9;  // Region 8 is VGA.

inline constexpr int kIntx = 0;
inline constexpr int kMsi = 1;
inline constexpr int kMsix = 2;
inline constexpr int kErr = 3;
inline constexpr int kReq = 4;
inline constexpr int kIrqIndexCount = 5;

// Of a BAR, of the configuration space, of nothing (bytes = 0).
struct RegionInfo {
  uint64_t bytes = 0;
  bool readable = false;
  bool writable = false;
  // Pages that the client may map: of `fd` (borrowed), where byte 0 of the region is at fd_offset.
  struct Area {
    uint64_t offset, bytes;  // In the region; whole pages.
  };
  int fd = -1;
  uint64_t fd_offset = 0;
  std::vector<Area> areas;
};

// Memory of the client that it lets the device use.
struct DmaRegion {
  uint64_t iova = 0;
  uint64_t bytes = 0;
  bool readable = false, writable = false;
  std::byte* address = nullptr;  // Mapped here; null where the client gave no memory.
};

// What stands behind a vfio-user socket: a PCI function made of software. The server checks every
// message first: offsets, lengths and vectors lie within what the device announced. All on the
// server's loop.
class ServedDevice {
 public:
  virtual RegionInfo region(int index) const = 0;
  virtual uint32_t irq_count(int irq_index) const = 0;

  // Return 0, or a positive errno that the client gets. Must not wait for the client.
  virtual int ReadRegion(int index, uint64_t offset, std::span<std::byte> data) = 0;
  virtual int WriteRegion(int index, uint64_t offset, std::span<const std::byte> data) = 0;
  // Back to the state of power-on, but for DMA regions and interrupts.
  virtual void Reset() = 0;

  virtual void OnDmaMapped(const DmaRegion& /*region*/) {}
  // The region goes when the task has ended: the device must not touch it any more.
  virtual Task<void> OnDmaUnmapping(DmaRegion region) = 0;
  // The client came, or went (its DMA regions have been unmapped one by one before).
  virtual void OnClientConnected() {}
  virtual void OnClientGone() {}

 protected:
  ~ServedDevice() = default;
};

}  // namespace pollux::vfio_user
