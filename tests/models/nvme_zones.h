#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pollux::models {

enum class ZoneState : uint8_t {  // ZNS figure 37, ZS.
  kEmpty = 0x1,
  kImplicitlyOpen = 0x2,
  kExplicitlyOpen = 0x3,
  kClosed = 0x4,
  kReadOnly = 0xd,
  kFull = 0xe,
  kOffline = 0xf,
};

struct Zone {
  ZoneState state = ZoneState::kEmpty;
  uint64_t start = 0, capacity = 0;
  uint64_t written = 0;  // The write pointer, from the start.
};

// The zones of a namespace and their states. ZNS §2.1.1. Methods return a status code.
class ZoneSet {
 public:
  struct Options {
    uint64_t zone_blocks = 1024;
    uint64_t capacity_blocks = 1024;        // At most zone_blocks.
    uint32_t open_max = 0, active_max = 0;  // 0: no limit.
  };
  ZoneSet(const Options& options, uint64_t blocks);

  const Options& options() const { return options_; }
  std::vector<Zone>& zones() { return zones_; }  // A test may put one into any state.
  const std::vector<Zone>& zones() const { return zones_; }
  Zone& Of(uint64_t lba) { return zones_[lba / options_.zone_blocks]; }

  // A write at the write pointer, or an append, which is told where it went.
  uint16_t Write(uint64_t lba, uint64_t count);
  uint16_t Append(uint64_t zone_start, uint64_t count, uint64_t* lba);
  uint16_t CheckRead(uint64_t lba, uint64_t count) const;

  uint16_t Open(Zone& zone);
  uint16_t Close(Zone& zone);
  uint16_t Finish(Zone& zone);
  uint16_t Reset(Zone& zone);
  uint16_t TakeOffline(Zone& zone);

 private:
  bool IsOpen(const Zone& zone) const;
  bool IsActive(const Zone& zone) const;
  // Makes room for one more open zone by closing one that is implicitly open.
  uint16_t Activate(const Zone& zone);
  uint16_t CheckWrite(const Zone& zone, uint64_t count);
  void Advance(Zone& zone, uint64_t count);

  const Options options_;
  std::vector<Zone> zones_;
};

}  // namespace pollux::models
