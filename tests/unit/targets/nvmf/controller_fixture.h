#pragma once
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "targets/nvmf/controller.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"
#include "tests/unit/block_world.h"

namespace pollux::nvmf::admin_test {

using Bytes = std::vector<uint8_t>;

// Little-endian numbers at an offset: the tests read what hosts read, by the standard's offsets,
// not by the structures of the code under test.
uint64_t Number(const Bytes& bytes, size_t at, size_t count);
inline uint8_t U8(const Bytes& bytes, size_t at) { return bytes.at(at); }
inline uint16_t U16(const Bytes& bytes, size_t at) {
  return static_cast<uint16_t>(Number(bytes, at, 2));
}
inline uint32_t U32(const Bytes& bytes, size_t at) {
  return static_cast<uint32_t>(Number(bytes, at, 4));
}
inline uint64_t U64(const Bytes& bytes, size_t at) { return Number(bytes, at, 8); }
std::string Text(const Bytes& bytes, size_t at, size_t count);
void Put(Bytes& bytes, size_t at, uint64_t value, size_t count);
bool IsAllZero(const Bytes& bytes, size_t from = 0, size_t to = SIZE_MAX);

// Statuses, as figures 94, 97 and 375 number them: SCT << 8 | SC.
inline constexpr int kOk = 0x000, kBadOpcode = 0x001, kBadField = 0x002, kBadNamespace = 0x00b,
                     kBadSequence = 0x00c, kBadLength = 0x00f, kAborted = 0x007, kQueueGone = 0x008,
                     kNoSuchLog = 0x109, kTooManyAborts = 0x103, kTooManyEvents = 0x105,
                     kNotSaveable = 0x10d, kNotChangeable = 0x10e, kNotOfNamespace = 0x10f,
                     kBadFormat = 0x180, kBadParameter = 0x182, kBadHost = 0x184,
                     kWrongQueue = 0x185;

// A submission queue entry, written by offset.
struct Sqe {
  Bytes bytes = Bytes(64);
  explicit Sqe(uint8_t opcode, uint32_t nsid = 0) {
    bytes[0] = opcode;
    Put(bytes, 4, nsid, 4);
  }
  Sqe& Dword(size_t index, uint32_t value) { return Put(bytes, 4 * index, value, 4), *this; }
  Sqe& At(size_t offset, uint64_t value, size_t count) {
    return Put(bytes, offset, value, count), *this;
  }
};

// A disk of which only the description is used.
class PaperDisk final : public BlockDevice {
 public:
  PaperDisk(const std::string& name, const Geometry& geometry)
      : BlockDevice(name, "Paper disk", geometry, Uuid::Random()) {}

 protected:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override;
  Status CheckResize(uint64_t) const override { return OkStatus(); }
};

// The transport's side of a command. Data comes and goes at once, unless told otherwise.
class AdminCommand final : public Command {
 public:
  void OnDataWanted(uint32_t offset, std::span<const iovec> parts) override;
  void OnDataReady(uint32_t offset, std::span<const iovec> parts,
                   const nvme::CompletionEntry* last) override;
  void OnCompletion(const nvme::CompletionEntry& completion) override;
  void OnDataUnwanted() override { DataDropped(nvme::status::kDataTransferError); }

  // Without Do Not Retry; -1: it has not ended.
  int status() const { return ended ? (completion.status >> 1 & 0x7ff) : -1; }
  bool more() const { return (completion.status >> 14 & 1) != 0; }
  bool dnr() const { return (completion.status >> 15 & 1) != 0; }
  uint32_t dw0() const { return completion.dw0; }
  uint64_t value() const { return uint64_t{completion.dw1} << 32 | completion.dw0; }

  Bytes out;                // What the host has to send.
  Bytes in;                 // What it got.
  bool holds_data = false;  // Does not send what is wanted.
  bool ended = false;
  bool to_tell_sent = false;
  nvme::CompletionEntry completion{};
};

class TestCarrier final : public Queue::Carrier {
 public:
  void OnEndWanted(const char* why, bool when_sent) override {
    reason = why;
    sent_first = when_sent;
    ++ends_wanted;
  }
  void OnQueueEnded() override { ended = true; }
  std::string peer_address() const override { return "192.0.2.7"; }
  std::string peer_port() const override { return "50123"; }

  std::string reason;
  bool sent_first = false;
  int ends_wanted = 0;
  bool ended = false;
};

// The control loop's side: it does what the test says, and keeps what it was asked.
class TestControlSide final : public ControlSide {
 public:
  Task<ConnectVerdict> Admit(ConnectQuery query) override;
  Task<void> Leave(std::shared_ptr<const ControllerIdentity> identity, uint16_t qid) override;
  std::string DiscoveryLog(const ControllerIdentity&) override { return discovery_log; }
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity>) override { co_return totals; }
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity> identity, uint16_t sqid,
                   uint16_t cid) override;
  Task<uint16_t> ProtectNamespace(std::string subnqn, uint32_t nsid,
                                  nvme::WriteProtection state) override;
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity> identity) override;
  size_t IoQueuesOf(const ControllerIdentity&) override { return io_queues; }
  std::vector<uint16_t> ControllersOf(const std::string& subnqn, uint32_t nsid) override;

  // What it says.
  uint16_t refusal = 0;
  uint32_t refusal_dw0 = 0;
  bool discovery = false;
  std::string discovery_log;
  Totals totals;
  bool abort_finds = false;
  uint16_t protection_status = 0;
  size_t io_queues = 0;
  std::map<uint32_t, std::vector<uint16_t>> controllers;  // By nsid; 0: all.
  // While set, what was asked waits for it.
  Completion<bool>* gate = nullptr;

  // What it was asked.
  std::vector<ConnectQuery> admitted;
  std::vector<uint16_t> left;
  std::vector<std::pair<uint16_t, uint16_t>> aborted;
  std::vector<std::pair<uint32_t, nvme::WriteProtection>> protected_namespaces;
  int io_queues_ended = 0;
};

// A subsystem on a still reactor, an admin queue, and the test as its host.
class ControllerTest : public testing::Test {
 protected:
  static constexpr const char* kNqn = "nqn.2024-01.test:subsystem";
  static constexpr const char* kHost = "nqn.2024-01.test:host";
  static constexpr uint32_t kListener = 7;
  static constexpr uint16_t kCntlid = 5;
  static constexpr uint32_t kEnable = 0x00460001;  // IOCQES 4, IOSQES 6, EN

  ControllerTest();
  ~ControllerTest() override;

  // --- Before SetUpSubsystem: what is unlike the usual.
  SubsystemFacts facts_;
  Queue::Limits limits_;
  void SetUpSubsystem();
  // With it, and an admin queue that is connected and enabled.
  void SetUpController(uint32_t kato_ms = 0);

  void Spin();
  void Advance(uint64_t ms);
  template <typename F>
  void OnReactor(F step) {
    world_.On(0, step);
  }

  using Change = std::function<void(NamespaceFacts&)>;
  PaperDisk& AddNamespace(uint32_t nsid, const Geometry& geometry = {.blocks = 2048},
                          const Change& change = {});
  void ChangeNamespace(uint32_t nsid, const Change& change);
  void RemoveNamespace(uint32_t nsid);
  void SetListener(std::vector<nvme::AnaState> states, std::vector<uint64_t> counts = {},
                   uint64_t count = 0);
  void Tell(SubsystemEvent event, uint32_t nsid = 0);

  // --- Queues.
  void MakeQueue();
  void CloseQueue();
  static Sqe ConnectSqe(uint16_t qid = 0, uint16_t sqsize = 31, uint32_t kato_ms = 0);
  Bytes ConnectData(uint16_t cntlid = 0xffff) const;
  AdminCommand& Connect(const Sqe& sqe, const Bytes& data);

  // --- Commands. Start leaves it to Spin; Run runs it to its end.
  AdminCommand& Make(const Sqe& sqe, uint32_t data_bytes, Bytes out = {});
  AdminCommand& Start(const Sqe& sqe, uint32_t data_bytes = 0, Bytes out = {});
  AdminCommand& Run(const Sqe& sqe, uint32_t data_bytes = 0, Bytes out = {});

  AdminCommand& PropertyGet(uint32_t offset, int attrib = 0);
  AdminCommand& PropertySet(uint32_t offset, uint64_t value, int attrib = 0);
  uint32_t Csts() { return static_cast<uint32_t>(PropertyGet(0x1c).value()); }
  AdminCommand& Identify(uint8_t cns, uint32_t nsid = 0, uint16_t cntid = 0, uint8_t csi = 0,
                         uint32_t data_bytes = 4096);
  struct Log {
    uint8_t lid = 0;
    uint32_t bytes = 4;
    uint64_t offset = 0;
    bool retain = false;
    uint8_t lsp = 0;
    uint32_t nsid = 0;
    uint32_t data_bytes = UINT32_MAX;  // As many as are asked for.
  };
  AdminCommand& GetLog(const Log& log);
  AdminCommand& GetFeature(uint8_t fid, uint8_t select = 0, uint32_t cdw11 = 0, uint32_t nsid = 0,
                           uint32_t data_bytes = 0);
  AdminCommand& SetFeature(uint8_t fid, uint32_t cdw11, uint32_t nsid = 0, bool save = false,
                           Bytes out = {});
  AdminCommand& StartEventRequest() { return Start(Sqe(0x0c)); }

  testing_world::BlockWorld world_{1};
  std::vector<std::byte> small_memory_, large_memory_;
  std::unique_ptr<BufferPool> small_, large_;
  TestControlSide control_side_;
  std::unique_ptr<Worker> worker_;
  SubsystemView* view_ = nullptr;
  TestCarrier carrier_;
  std::unique_ptr<Queue> queue_;
  std::list<AdminCommand> commands_;

 private:
  std::map<uint32_t, PaperDisk*> disks_;
  std::map<uint32_t, CommandCounters> counters_;  // By nsid.
  uint16_t next_cid_ = 1;
};

#define EXPECT_STATUS(command, expected) EXPECT_EQ((command).status(), expected)

}  // namespace pollux::nvmf::admin_test
