#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/spec/vfio_user_spec.h"
#include "core/unique_fd.h"
#include "core/vfio_user/capabilities.h"
#include "targets/vfio_user/device.h"
#include "targets/vfio_user/dma_table.h"
#include "targets/vfio_user/interrupts.h"

namespace pollux::vfio_user {

// What the device is made of, asked once.
struct DeviceFacts {
  std::array<RegionInfo, kRegionCount> regions;
  Interrupts::Counts irqs{};
};
DeviceFacts FactsOf(const ServedDevice& device);

// One client's commands: each is checked, carried out and answered here. Messages in, messages out;
// it does no I/O and does not wait.
//
//   kAwaitVersion --VERSION--> kReady
//         |                      |
//         +-- a violation -------+--> the answer says `close`
class Session {
 public:
  struct Limits {
    uint32_t data_bytes_max;
    uint32_t fds_max;
    uint32_t dma_regions_max;
  };
  // All of them outlive the session.
  Session(const Limits& limits, const DeviceFacts& facts, ServedDevice& device, DmaTable& dma,
          Interrupts& interrupts)
      : limits_(limits), facts_(facts), device_(device), dma_(dma), interrupts_(interrupts) {}

  // The largest payload that a client has reason to send.
  static size_t PayloadBytesMax(const Limits& limits);

  struct Answer {
    // With its header; empty where none is wanted. Valid until the next command.
    std::span<const std::byte> message;
    int fd = -1;         // That goes along; the device's.
    bool close = false;  // Afterwards.
    // First these regions go: the device lets go of each, and it is removed from the table.
    std::vector<DmaRegion> unmapping;
  };
  Answer Handle(const vfio_user_spec::Header& header, std::span<const std::byte> payload,
                std::vector<UniqueFd>& fds, bool fds_lost);
  // To a message whose length cannot be.
  Answer Refuse(const vfio_user_spec::Header& header);

  bool ready() const { return state_ == State::kReady; }

 private:
  enum class State { kAwaitVersion, kReady };
  using Payload = std::span<const std::byte>;
  using Fds = std::vector<UniqueFd>;

  // Each returns 0, with its answer appended, or a positive errno.
  int Dispatch(vfio_user_spec::Command command, Payload payload, Fds& fds, Answer& answer);
  int OnVersion(Payload payload, const Fds& fds);
  int OnDmaMap(Payload payload, Fds& fds);
  int OnDmaUnmap(Payload payload, Answer& answer);
  int OnGetInfo(Payload payload);
  int OnGetRegionInfo(Payload payload, Answer& answer);
  int OnGetRegionIoFds(Payload payload);
  int OnGetIrqInfo(Payload payload);
  int OnSetIrqs(Payload payload, Fds& fds);
  int OnRegionRead(Payload payload);
  int OnRegionWrite(Payload payload);
  int OnRegionWriteMulti(Payload payload);
  int OnReset();

  // 0 when the region has these bytes and they may be accessed so.
  int CheckAccess(uint64_t offset, uint32_t region, uint64_t count, bool write) const;
  void Finish(const vfio_user_spec::Header& header, int error, Answer& answer);

  // The answer in the making: its header, then what was appended.
  std::span<std::byte> Append(size_t bytes);
  template <typename T>
  void Put(const T& part);

  const Limits limits_;
  const DeviceFacts& facts_;
  ServedDevice& device_;
  DmaTable& dma_;
  Interrupts& interrupts_;
  State state_ = State::kAwaitVersion;
  Capabilities client_;
  std::vector<std::byte> answer_;  // Grows to the largest one.
  size_t answer_bytes_ = 0;
};

}  // namespace pollux::vfio_user
