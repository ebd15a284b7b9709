#pragma once
#include <bitset>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_channel.h"
#include "core/block/io_request.h"
#include "core/block/rate_bucket.h"
#include "core/block/rate_limits.h"
#include "core/block/uuid.h"
#include "core/histogram.h"
#include "core/memory/reactor_buffers.h"
#include "core/reactors.h"
#include "core/status.h"
#include "core/task.h"
#include "core/turn.h"

namespace pollux {

struct Geometry {
  uint32_t block_bytes = 512;  // A power of two, 512 to 65536; without metadata.
  uint64_t blocks = 0;
  uint32_t physical_block_bytes = 512;  // A multiple of block_bytes.
  uint32_t metadata_bytes = 0;          // Per block; 0: none.
  bool metadata_interleaved = false;
  // Of T10 protection information in the metadata, 1 to 3; 0: none. At its end, or its start.
  uint8_t protection_type = 0;
  bool protection_first = false;
  bool checks_reference_tag = false, checks_guard = false;  // The device does, on its own.
  uint32_t optimal_boundary_blocks = 0;  // I/O that crosses a multiple of it is split. 0: none.

  // What one block takes in IoRequest::data.
  uint32_t data_block_bytes() const {
    return block_bytes + (metadata_interleaved ? metadata_bytes : 0);
  }
};

// What one request may ask of the device. The block layer splits larger ones; 0 means no limit.
struct Limits {
  uint64_t io_bytes_max = 0;
  uint32_t segments_max = 0;
  uint64_t unmap_blocks_max = 0;
  uint64_t write_zeroes_blocks_max = 0;
  uint64_t compare_and_write_blocks_max =
      0;  // Never split, since it is atomic: a longer one fails.
  uint32_t buffer_alignment =
      1;  // Of every segment's address; the device copies where it is not met.
  uint32_t preferred_write_alignment_blocks = 0;
  uint32_t preferred_write_granularity_blocks = 0;
  uint32_t optimal_write_blocks = 0;
  uint32_t preferred_unmap_alignment_blocks = 0;
  uint32_t preferred_unmap_granularity_blocks = 0;
  bool unmapped_reads_zero = false;
};

// As SPDK names them in bdev_get_bdevs. An exclusive claim keeps every other writer out.
enum class ClaimType {
  kNone,
  kExclusiveWrite,
  kReadManyWriteOne,
  kReadManyWriteNone,
  kReadManyWriteShared
};
const char* ClaimTypeName(ClaimType type);

// Where the latencies of a device's I/O fall; see latency_histogram.h.
struct DeviceHistograms {
  std::vector<std::unique_ptr<Histogram>> by_reactor;  // Empty while none are kept.
  uint32_t types = 0;                                  // Bit by IoType.
  uint64_t min_nsec = 0, max_nsec = 0;
};

class BlockDevice;
class IoTraces;
class RangeLock;

// Somebody that has a device open: a LUN, a namespace, a stacked disk. Control loop only.
class BlockUser {
 public:
  // "iscsi target iqn...:disk1 LUN 0", for messages.
  virtual std::string description() const = 0;
  // The device is going: new I/O already ends with kGone, what is in flight ends by itself. The
  // user lets go of its channels on every reactor and then returns; the device is closed for it.
  virtual Task<void> OnDeviceRemoving(BlockDevice& device) = 0;
  virtual void OnDeviceResized(BlockDevice& device) = 0;

 protected:
  ~BlockUser() = default;
};

// A disk, as the control loop sees it: what it is, who uses it, and one channel per reactor for
// I/O.
//
//   kMade --Register--> kReady --Unregister--> kRemoving --all channels closed--> kGone
//
// Drivers derive from it; DeviceRegistry moves it through its states.
class BlockDevice {
 public:
  enum class State { kMade, kReady, kRemoving, kGone };

  BlockDevice(std::string name, std::string product_name, Geometry geometry, Uuid uuid);
  virtual ~BlockDevice();

  const std::string& name() const { return name_; }
  // "Malloc disk", "AIO disk": as clients expect them.
  const std::string& product_name() const { return product_name_; }
  const Geometry& geometry() const { return geometry_; }
  const Uuid& uuid() const { return uuid_; }
  const Limits& limits() const { return limits_; }
  State state() const { return state_; }
  // Given at registration; no two devices of a process have the same.
  uint32_t number() const { return number_; }
  bool read_only() const { return read_only_; }
  // A completed write may be lost at power failure until a flush completes.
  bool volatile_cache() const { return volatile_cache_; }
  // By itself, or because the block layer makes it of what the device does: write zeroes of writes,
  // compare of reads, compare-and-write under a lock of the range on all reactors. Reset and abort
  // are always there.
  bool Supports(IoType type) const;
  const std::vector<std::string>& aliases() const { return aliases_; }  // The UUID's text first.
  int numa_node() const { return numa_node_; }
  const RateLimits& rate_limits() const { return rate_limits_; }

  // The channel of a reactor; null unless the state is kReady or kRemoving. The pointer stays valid
  // until the user's OnDeviceRemoving has returned.
  BlockChannel* channel(size_t reactor_index) const {
    return reactor_index < channels_.size() ? channels_[reactor_index].get() : nullptr;
  }

  // A user opens the device before it takes a channel, and closes it after its last I/O. Fails with
  // EPERM when a claim forbids it, with ENODEV when the device is going.
  Status Open(BlockUser& user, bool write);
  void Close(BlockUser& user);  // Its claim goes with it. Nothing happens when it is closed.
  // For a user that has opened the device. EPERM when others write, or claim, what this excludes.
  Status Claim(BlockUser& user, ClaimType type);
  void ReleaseClaim(BlockUser& user);
  ClaimType claim() const { return claim_; }
  const std::vector<BlockUser*>& users() const { return users_; }

  const DeviceHistograms& histograms() const { return histograms_; }

  // A JSON object with what only this kind of device has, as bdev_get_bdevs shows it.
  virtual std::string DriverSpecificJson() const { return "{}"; }
  // The same of what it counts, as bdev_get_iostat shows it. Empty: nothing.
  virtual std::string StatisticsJson() const { return {}; }

 protected:
  // Called on `reactor`, once per reactor, while the device is being registered.
  virtual Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) = 0;
  // The last thing before the device is destroyed, when no channel is left.
  virtual Task<void> Shutdown() { co_return; }
  // Whether the device can have that many blocks from now on. By default its size stays.
  virtual Status CheckResize(uint64_t blocks) const;

  // By the driver, before registration.
  Limits limits_;
  bool read_only_ = false;
  bool volatile_cache_ = false;
  int numa_node_ = -1;
  // What its channels execute. The block layer adds to it: see Supports().
  std::bitset<kIoTypeCount> executes_;
  // With these the block layer makes compares of reads. They outlive the device.
  ReactorBuffers* buffers_ = nullptr;

 private:
  friend class BlockChannel;
  friend class DeviceRegistry;
  bool Executes(IoType type) const { return executes_.test(static_cast<size_t>(type)); }
  Status MayClaim(const BlockUser& user, ClaimType type) const;

  const std::string name_, product_name_;
  Geometry geometry_;
  const Uuid uuid_;
  std::vector<std::string> aliases_;
  State state_ = State::kMade;
  uint32_t number_ = 0;
  IoTraces* traces_ = nullptr;  // From registration on.
  Turn changing_;               // One change on all channels at a time; a removal waits for it.
  RateLimits rate_limits_;
  std::unique_ptr<RateBuckets> rate_buckets_;  // While there are limits.
  DeviceHistograms histograms_;                // Outlive the channels.
  std::vector<std::unique_ptr<BlockChannel>> channels_;
  std::unique_ptr<RangeLock> range_lock_;  // While there are channels, where one is needed.
  std::vector<BlockUser*> users_;
  std::vector<BlockUser*> writers_;  // Of the users.
  ClaimType claim_ = ClaimType::kNone;
  std::vector<BlockUser*> claimers_;  // Of the users: several share a claim that writes nothing.
};

}  // namespace pollux
