#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/spec/ioat_spec.h"
#include "tests/models/nvme_dma.h"
#include "tests/models/shared_memory.h"

namespace pollux::models {

// An I/OAT device made of memory: registers, and channels that follow descriptors when told to
// Step(). Nothing happens by itself, so that a test decides what is executed when, and what goes
// wrong. One thread.
//
//   reset --> halted --CHAINADDR--> armed --DMACOUNT--> active <--> idle
//               ^                                         |
//               +---------------- an error ---------------+    (suspended: from all but halted)
class IoatModel {
 public:
  struct Options {
    uint16_t device = 0x0b00;
    uint8_t version = ioat::kVersion34;
    uint8_t channels = 1;
    uint8_t xfercap = 20;
    uint32_t capability = ioat::capability::kFill | ioat::capability::kXor | ioat::capability::kPq;
    uint32_t reset_steps = 1;  // How many steps a channel's reset takes.
  };
  // The host's memory outlives the model.
  IoatModel(const Options& options, DmaSpace& memory);

  const Options& options() const { return options_; }
  // BAR 0. DMACOUNT may be written in it directly; all else by the calls below.
  const SharedMemory& bar() const { return bar_; }

  // Naturally aligned, 1, 2, 4 or 8 bytes.
  uint64_t ReadRegister(uint64_t offset, size_t bytes);
  void WriteRegister(uint64_t offset, size_t bytes, uint64_t value);

  // Each channel executes one descriptor, if it has one, or comes one step nearer to the end of its
  // reset. Returns how many descriptors were completed.
  size_t Step();
  // Until nothing is left to do.
  size_t Run();
  // Whether Step() would do something.
  bool busy() const;

  void PowerOn();
  void set_bus_master(bool on) { bus_master_ = on; }

  // --- What goes wrong.

  // The nth descriptor of the channel from now on, counted from 1, ends with these bits of CHANERR;
  // then every one that follows by as many as `again`. 0: none does.
  void FailDescriptor(unsigned channel, uint32_t nth, uint32_t chanerr, uint32_t again = 0);
  // Writes a status to where the host wants it, true or not.
  void PostStatus(unsigned channel, uint64_t status);
  // Nothing is executed any more; registers still answer.
  bool stalled = false;
  // Status is not written to memory.
  bool mute = false;
  // A reset does not end.
  bool reset_hangs = false;
  // Unplugged: reads give all ones, nothing is executed.
  void Remove() { gone_ = true; }
  bool gone() const { return gone_; }

  // --- What it tells.

  std::function<void(unsigned vector)> on_interrupt;  // The vector is the channel's number.
  std::function<void(uint32_t chanerr)> on_error;     // For CHANERR_INT.
  uint64_t doorbells() const { return doorbells_; }   // Changes of DMACOUNT that it noticed.
  uint64_t status_writes() const { return status_writes_; }
  uint64_t resets() const { return resets_; }
  // What the last descriptors were, oldest first: their control words.
  const std::vector<uint32_t>& executed() const { return executed_; }
  // What a host must not do.
  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  struct Channel {
    unsigned number = 0;
    uint64_t current = 0;  // The next descriptor.
    uint16_t done = 0;     // Since CHAINADDR was written. Compares with DMACOUNT.
    uint16_t seen = 0;     // DMACOUNT when it was last looked at.
    uint32_t reset_left = 0;
    bool interrupt_pending = false;
    uint32_t fail_in = 0, fail_with = 0, fail_again = 0;
  };
  // What becomes of a descriptor: 0, or bits of CHANERR; how many it took, and what follows.
  struct Outcome {
    uint32_t chanerr = 0;
    uint16_t descriptors = 1;
    uint64_t next = 0;
  };

  template <typename T>
  T Get(const Channel& channel, Reg<T> reg) const;
  template <typename T>
  void Set(const Channel& channel, Reg<T> reg, T value);
  template <typename T>
  void SetDevice(Reg<T> reg, T value);
  uint64_t state(const Channel& channel) const;
  void SetState(Channel& channel, uint64_t state);

  // A register was written: `value` in its place, `mask` says which bits.
  void OnChannelWrite(Channel& channel, uint64_t reg, uint64_t value, uint64_t mask);
  void OnCommand(Channel& channel, uint8_t command);
  void OnDoorbell(Channel& channel);
  void EndReset(Channel& channel);

  size_t StepChannel(Channel& channel);
  void Fail(Channel& channel, uint32_t chanerr);
  bool WriteStatus(Channel& channel);
  void Attention(Channel& channel);
  void FireInterrupt(Channel& channel);

  // ioat_operations.cc.
  Outcome Execute(uint64_t address);
  uint32_t Copy(const ioat::Descriptor& descriptor);
  uint32_t Fill(const ioat::Descriptor& descriptor);
  Outcome Xor(const ioat::Descriptor& descriptor, bool validate);
  Outcome Pq(const ioat::Descriptor& descriptor, bool validate);
  bool ReadSources(const std::vector<uint64_t>& addresses, size_t bytes,
                   std::vector<const std::byte*>& into);
  bool LengthIsGood(uint32_t bytes) const;

  const Options options_;
  DmaSpace& memory_;
  SharedMemory bar_;
  std::array<Channel, ioat::kChannelsMax> channels_;
  bool bus_master_ = true;
  bool gone_ = false;
  uint64_t doorbells_ = 0, status_writes_ = 0, resets_ = 0;
  std::vector<uint32_t> executed_;
  std::vector<std::string> complaints_;
};

}  // namespace pollux::models
