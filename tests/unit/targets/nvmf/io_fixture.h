#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/spec/nvmf_spec.h"
#include "drivers/memory/memory_disk.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"
#include "tests/unit/block_world.h"

namespace pollux::nvmf::io_test {

using Bytes = std::vector<uint8_t>;
using namespace nvme::status;

inline constexpr uint16_t kDnr = nvme::status::kDnrBit;

// A disk in memory that does what the test says: holds I/O back, fails, lends its pages in two
// parts.
class OddDisk final : public BlockDevice {
 public:
  struct Options {
    uint64_t blocks = 4096;
    uint32_t block_bytes = 512;
    bool read_only = false;
    bool volatile_cache = false;
    bool unmaps = true;
    bool compares_and_writes = true;
    uint32_t metadata_bytes = 0;  // Interleaved.
    uint8_t protection_type = 0;
  };
  OddDisk(const std::string& name, Options options);

  bool lends = false;
  bool holds = false;  // I/O waits for ReleaseHeld().
  bool aborts = true;  // What is held can be aborted.
  IoStatus fails = IoStatus::kSuccess;
  uint16_t nvme_status = 0;       // With which it fails.
  uint64_t bad_lba = UINT64_MAX;  // Reading or writing it is a medium error.
  std::vector<std::byte> data;
  std::vector<IoRequest*> held;
  int flushes = 0, unmaps = 0, zeroes = 0, writes = 0, reads = 0, loans = 0, fua_writes = 0;

  void ReleaseHeld();

 protected:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override;
  Status CheckResize(uint64_t blocks) const override;

 private:
  class Channel;
};

// The transport's side of a command: it records the upcalls. Host data arrives from within the
// upcall that wants it, and what was to be sent is sent in the next turn, unless it `waits`.
class HostCommand final : public Command {
 public:
  void OnDataWanted(uint32_t offset, std::span<const iovec> parts) override;
  void OnDataReady(uint32_t offset, std::span<const iovec> parts,
                   const nvme::CompletionEntry* last) override;
  void OnCompletion(const nvme::CompletionEntry& entry) override;
  void OnDataUnwanted() override {
    ++unwanted;
    if (!keeps) wanted = false, DataDropped(kDataTransferError);
  }

  void SendWanted();  // Copies what is wanted, and tells.
  void TellSent();

  // Without More.
  uint16_t status() const { return static_cast<uint16_t>(completion.status >> 1 & 0xdfff); }
  bool more() const { return (completion.status >> 14 & 1) != 0; }

  Bytes out;            // What the host has to send.
  Bytes in;             // What it got.
  bool waits = false;   // Does not answer by itself.
  bool keeps = false;   // Does not let go of parts that are not wanted any more.
  bool wanted = false;  // Data of the host, or its having been sent, is awaited.
  bool ready = false;
  bool last = false;
  bool ended = false;
  bool in_abandon = false;
  int bursts_out = 0, bursts_in = 0, completions = 0, unwanted = 0;
  nvme::CompletionEntry completion;
  std::span<const iovec> parts;  // The list is the command's, as long as the parts are.
  uint32_t offset = 0;
  std::function<void()> then;  // When it ends.
};

class FakeCarrier final : public Queue::Carrier {
 public:
  void OnEndWanted(const char* why, bool when_sent) override {
    ++ends_wanted;
    reason = why;
    sent_first = when_sent;
    if (then) then();
  }
  void OnQueueEnded() override { ended = true; }
  std::string peer_address() const override { return "192.0.2.1"; }
  std::string peer_port() const override { return "50000"; }

  int ends_wanted = 0;
  std::string reason;
  bool sent_first = false;
  bool ended = false;
  std::function<void()> then;
};

class FakeControlSide final : public ControlSide {
 public:
  Task<ConnectVerdict> Admit(ConnectQuery query) override;
  Task<void> Leave(std::shared_ptr<const ControllerIdentity> identity, uint16_t qid) override;
  std::string DiscoveryLog(const ControllerIdentity&) override { return {}; }
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity>) override { co_return Totals{}; }
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity>, uint16_t, uint16_t) override {
    co_return false;
  }
  Task<uint16_t> ProtectNamespace(std::string, uint32_t, nvme::WriteProtection) override {
    co_return kSuccess;
  }
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity>) override { co_return; }
  size_t IoQueuesOf(const ControllerIdentity&) override { return 0; }
  std::vector<uint16_t> ControllersOf(const std::string&, uint32_t) override { return {}; }

  uint16_t refuses = kSuccess;
  Completion<bool>* holds = nullptr;  // Admit waits for it.
  int admitted = 0, left = 0;
};

// A subsystem with namespace 1 on a still reactor, and an I/O queue of a host.
class IoTest : public testing::Test {
 protected:
  static constexpr const char* kNqn = "nqn.2024-01.test:subsystem";
  static constexpr const char* kHost = "nqn.2024-01.test:host";
  static constexpr uint32_t kListener = 7;
  struct Buffers {
    size_t small = 4, large = 4;
  };
  IoTest() : IoTest(Buffers{}) {}
  explicit IoTest(Buffers buffers, Queue::Limits limits = {});
  ~IoTest() override;

  // Runs turns, and the transport, until nothing happens any more.
  void Spin();

  // A memory disk that lends its pages, or one that does what the test says, as namespace `nsid`.
  BlockDevice& AddMemoryDisk(uint32_t nsid = 1, uint64_t blocks = 4096, uint32_t block_bytes = 512);
  OddDisk& AddOddDisk(uint32_t nsid = 1, OddDisk::Options options = {});
  BlockDevice& Add(uint32_t nsid, std::unique_ptr<BlockDevice> made);
  void Change(uint32_t nsid, const std::function<void(NamespaceFacts&)>& change);
  // Starts it, and lets it go on until it ends or waits.
  void BeginDetach(uint32_t nsid);
  bool detached() const { return detach_ == nullptr || detach_->done(); }
  void SetAna(nvme::AnaState state, uint32_t group = 1);

  std::unique_ptr<Queue> MakeQueue();
  void Connect(Queue& queue, uint16_t qid, uint32_t depth = 128);
  void CloseQueue(std::unique_ptr<Queue>& queue);

  // What a host would send.
  static nvme::SubmissionEntry Entry(uint8_t opcode, uint32_t nsid, uint64_t lba = 0,
                                     uint32_t blocks = 1);
  HostCommand& Make(const nvme::SubmissionEntry& entry, uint32_t data_bytes, Bytes out = {});
  // Starts a command; Spin() brings it on.
  HostCommand& Start(const nvme::SubmissionEntry& entry, uint32_t data_bytes, Bytes out = {},
                     bool waits = false);
  // Runs one to its end.
  HostCommand& Run(const nvme::SubmissionEntry& entry, uint32_t data_bytes = 0, Bytes out = {});
  HostCommand& Read(uint64_t lba, uint32_t blocks);
  HostCommand& Write(uint64_t lba, uint32_t blocks, uint8_t seed);
  CommandTotals Counted() const { return CommandTotals() += queue_->counters(); }
  CommandTotals CountedOf(uint32_t nsid) { return CommandTotals() += counters_[nsid]; }
  Bytes OnDisk(uint64_t lba, uint32_t blocks);  // Through a Read of its own.

  size_t BuffersOut() const {
    return small_->count() - small_->available() + large_->count() - large_->available();
  }

  testing_world::BlockWorld world_{1};
  RegionRegistry regions_;
  Accel accel_{*world_.reactors};
  std::vector<std::byte> small_memory_, large_memory_;
  std::unique_ptr<BufferPool> small_, large_;
  FakeControlSide control_side_;
  std::unique_ptr<Worker> worker_;
  SubsystemView* view_ = nullptr;
  std::vector<BlockDevice*> disks_;
  std::vector<uint32_t> nsids_;
  std::map<uint32_t, CommandCounters> counters_;  // By nsid.
  FakeCarrier carrier_;
  Queue::Limits limits_;
  std::unique_ptr<Queue> queue_;
  std::list<HostCommand> commands_;
  uint16_t next_cid_ = 100;
  std::unique_ptr<Task<void>> detach_;
};

Bytes Pattern(size_t bytes, uint8_t seed);
// What it is called, for messages.
std::string StatusText(const HostCommand& command);

#define EXPECT_ENDED_WITH(command, expected)                           \
  do {                                                                 \
    const ::pollux::nvmf::io_test::HostCommand& ended_command =        \
        (command); /* It may be one that is run. */                    \
    EXPECT_TRUE(ended_command.ended) << "it has not ended";            \
    EXPECT_EQ(ended_command.status(), static_cast<uint16_t>(expected)) \
        << ::pollux::nvmf::io_test::StatusText(ended_command);         \
  } while (false)

}  // namespace pollux::nvmf::io_test
